"""What a transfer asks others, played by hand."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from mesh.errors import FailedPrecondition, Refused, Transient
from mesh.ids import new_id
from services.money import Money
from services.transfers.domain.transfers import Account, Status, Transfer

T = TypeVar("T")

PAYER, PAYEE, COMPANY = "payer", "payee", "company"


def a_transfer(
    minor_units: int = 100,
    *,
    payee: str = PAYEE,
    pix_key: str = "",
    scheduled_for_us: int | None = None,
) -> Transfer:
    return Transfer(
        id=new_id(),
        requested_by="ana",
        request_id=new_id(),
        payer=PAYER,
        payee="" if pix_key else payee,
        pix_key=pix_key,
        amount=Money(minor_units, "BRL"),
        description="rent",
        created_at_us=0,
        scheduled_for_us=scheduled_for_us,
        status=Status.PENDING if scheduled_for_us is None else Status.SCHEDULED,
    )


def an_account(
    account_id: str, *, is_open: bool = True, currency: str = "BRL", may_pay: bool | None = True
) -> Account:
    return Account(
        id=account_id, company_id=COMPANY, currency=currency, is_open=is_open, may_pay=may_pay
    )


class FakeJournal:
    """Keeps answers in memory; a transient error is asked again at once."""

    def __init__(self) -> None:
        self.answers: dict[str, Refused | None] = {}

    async def step(self, name: str, action: Callable[[T], Awaitable[None]], argument: T, /) -> None:
        while name not in self.answers:
            try:
                await action(argument)
                self.answers[name] = None
            except Refused as refusal:
                self.answers[name] = refusal
            except Transient:
                continue
        if refusal_kept := self.answers[name]:
            raise refusal_kept


class FakeLedger:
    """One payer's account. `faults` is how often it is not there before it answers."""

    def __init__(self, balance: int = 100, *, closed: bool = False, faults: int = 0) -> None:
        self.balance = balance
        self.held = 0
        self.closed = closed
        self.faults = faults
        self.calls: list[str] = []

    async def post(self, transfer: Transfer) -> None:
        self.called("post")
        self.take(transfer.amount.minor_units)
        self.balance -= transfer.amount.minor_units

    async def hold(self, transfer: Transfer) -> None:
        self.called("hold")
        self.take(transfer.amount.minor_units)
        self.held = transfer.amount.minor_units

    async def settle(self, transfer: Transfer) -> None:
        self.called("settle")
        self.balance -= self.held
        self.held = 0

    async def release(self, transfer: Transfer) -> None:
        self.called("release")
        self.held = 0

    def called(self, name: str) -> None:
        if self.faults:
            self.faults -= 1
            raise Transient("UNAVAILABLE", "The ledger is not there.")
        self.calls.append(name)

    def take(self, minor_units: int) -> None:
        if self.closed:
            raise FailedPrecondition("ACCOUNT_CLOSED", "The account is closed.")
        if self.balance - self.held < minor_units:
            raise FailedPrecondition("INSUFFICIENT_FUNDS", "The account has not enough funds.")


class FakeRail:
    """A rail that gives its answers in order, and then says yes for ever."""

    def __init__(self, answers: Sequence[Exception] = ()) -> None:
        self.answers = list(answers)
        self.sent = 0

    async def send(self, transfer: Transfer) -> None:
        self.sent += 1

    async def confirm(self, transfer: Transfer) -> None:
        if self.answers:
            raise self.answers.pop(0)


class FakeCalendar:
    """Lets a transfer begin, unless it was cancelled."""

    def __init__(self, *, cancelled: bool = False) -> None:
        self.cancelled = cancelled
        self.begun = 0

    async def begin(self, transfer: Transfer) -> None:
        if self.cancelled:
            raise FailedPrecondition("TRANSFER_CANCELLED", "The transfer was cancelled.")
        self.begun += 1
