"""What a payment needs, played by hand."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

from mesh.errors import FailedPrecondition
from mesh.ids import new_id
from services.money import Money
from services.pix.domain import Deposit, Key, Payment, outside_answer

T = TypeVar("T")


def a_payment(key: str = "ana@example.com", account: str = "") -> Payment:
    payment_id = new_id()
    return Payment(
        id=payment_id,
        key=key,
        account=account,
        amount=Money(100, "BRL"),
        description="rent",
        end_to_end_id=f"E{payment_id[:31]}",
        created_at_us=0,
    )


def a_deposit(request_id: str | None = None) -> Deposit:
    deposit_id = new_id()
    return Deposit(
        id=deposit_id,
        request_id=request_id,
        account="account",
        amount=Money(100, "BRL"),
        description="rent",
        end_to_end_id=f"E{deposit_id[:31]}",
        created_at_us=0,
    )


class FakeJournal:
    """Takes each step as it comes."""

    def __init__(self) -> None:
        self.steps: list[str] = []

    async def step(self, name: str, action: Callable[[T], Awaitable[None]], argument: T, /) -> None:
        self.steps.append(name)
        await action(argument)


class FakeLedger:
    """A ledger with one account, `account`."""

    def __init__(self, *, closed: bool = False) -> None:
        self.closed = closed
        self.credited: list[str] = []

    async def account_of(self, key: Key) -> str:
        return key.value if key.value == "account" else ""

    async def credit(self, deposit: Deposit) -> None:
        if self.closed:
            raise FailedPrecondition("ACCOUNT_CLOSED", "The account is closed.")
        self.credited.append(deposit.id)


class FakeOutside:
    """The sandbox without its delay."""

    async def deliver(self, payment: Payment) -> None:
        if code := outside_answer(payment.key):
            raise FailedPrecondition(code, "The payee's bank refused the payment.")
