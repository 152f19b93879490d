"""What a payment needs, played by hand."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import date
from typing import TypeVar

from mesh.errors import FailedPrecondition, Transient
from mesh.ids import new_id
from services.money import Money
from services.pix.domain.payments import Deposit, Payment
from services.pix.domain.rail import Answer, Holder, Order, Outcome, Settlement

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
    """Takes each step as it comes, and again until it has an answer."""

    def __init__(self) -> None:
        self.steps: list[str] = []
        self.asked_again = 0

    async def step(self, name: str, action: Callable[[T], Awaitable[None]], argument: T, /) -> None:
        self.steps.append(name)
        while True:
            try:
                return await action(argument)
            except Transient:
                self.asked_again += 1


class FakeLedger:
    """A ledger with one account, `account`."""

    def __init__(self, *, closed: bool = False) -> None:
        self.closed = closed
        self.credited: list[str] = []

    async def credit(self, deposit: Deposit) -> None:
        if self.closed:
            raise FailedPrecondition("ACCOUNT_CLOSED", "The account is closed.")
        self.credited.append(deposit.id)


class FakeRail:
    """A rail that answers what it is told to: `first` at once, `then` each time it is asked."""

    def __init__(self, first: Answer, *then: Answer | None) -> None:
        self.first = first
        self.then = list(then)
        self.sent: list[str] = []
        self.answered: dict[str, Answer] = {}

    async def send(self, order: Order) -> Answer:
        self.sent.append(order.end_to_end_id)
        return self.first

    async def query(self, end_to_end_id: str) -> Answer | None:
        return self.then.pop(0)

    async def answer(self, end_to_end_id: str, answer: Answer) -> None:
        self.answered[end_to_end_id] = answer

    async def settled_on(self, day: date) -> list[Settlement]:
        return []

    async def find(self, key: str) -> Holder | None:
        return None

    async def taken(self, key: str) -> Holder | None:
        return None


SETTLED = Answer(Outcome.SETTLED)
UNKNOWN = Answer(Outcome.UNKNOWN)
