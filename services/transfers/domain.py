"""What a transfer is, who may ask for it, and what may become of it. No gRPC, no NATS, no SQL."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Protocol

from mesh.errors import (
    AlreadyExists,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    Refused,
)
from services.money import Money

LATEST_SCHEDULE_US = 366 * 24 * 3600 * 1_000_000
NO_ROLE = "UNSPECIFIED"
PAYING_ROLES = frozenset({"OWNER", "OPERATOR"})


class Status(StrEnum):
    """How far a transfer has come. The names are those of the contract; the values are stored."""

    SCHEDULED = "scheduled"
    PENDING = "pending"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


@dataclass(frozen=True, kw_only=True, slots=True)
class Account:
    """An account, as far as this service knows it, in the eyes of the user who asks.

    `may_pay` is None when the user has no part in the account's company.
    """

    id: str
    company_id: str
    currency: str
    is_open: bool
    may_pay: bool | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Supplier:
    """Where a supplier is paid, and by whom, as suppliers has said."""

    company_id: str
    pix_key: str = field(repr=False)
    name: str = field(repr=False)


@dataclass(frozen=True, kw_only=True, slots=True)
class Transfer:
    """An instruction to move an amount, once, to an account of ours, a Pix key or a supplier.

    A supplier is paid at the Pix key it has when the transfer is accepted.
    """

    id: str
    requested_by: str
    request_id: str
    payer: str
    payee: str
    pix_key: str
    amount: Money
    description: str
    created_at_us: int
    scheduled_for_us: int | None
    status: Status
    failure_reason: str = ""
    end_to_end_id: str = ""
    supplier_id: str = ""
    payee_name: str = field(default="", repr=False)

    def __post_init__(self) -> None:
        if self.payer == self.payee:
            raise InvalidArgument("SAME_ACCOUNT", "A transfer needs two different accounts.")
        if self.amount.minor_units <= 0:
            raise InvalidArgument("AMOUNT_NOT_POSITIVE", "A transfer moves more than nothing.")
        if self.scheduled_for_us is not None:
            must_lie_ahead(self.scheduled_for_us - self.created_at_us)

    def must_repeat(self, earlier: Transfer) -> None:
        if self.instruction() != earlier.instruction():
            raise AlreadyExists("REQUEST_ID_TAKEN", "This request id names another transfer.")

    def instruction(self) -> tuple[object, ...]:
        """Tells two transfers apart that were asked for under one request id."""
        # Where a supplier is paid may have changed since.
        key = "" if self.supplier_id else self.pix_key
        where = (self.payer, self.payee, self.supplier_id, key)
        return (*where, self.amount, self.description, self.scheduled_for_us)

    def to(self, supplier: Supplier | None) -> Transfer:
        """Gives the transfer with where its supplier is paid. Raises `NotFound` if that is None."""
        if supplier is None:
            raise no_such_payee()
        return replace(self, pix_key=supplier.pix_key, payee_name=supplier.name)

    def refusal(
        self, accounts: Mapping[str, Account], supplier: Supplier | None = None
    ) -> Refused | None:
        """Tells why the accounts, or whose the supplier is, do not allow the transfer."""
        payer, payee = accounts.get(self.payer), accounts.get(self.payee)
        if payer is None or payer.may_pay is None:
            return NotFound("ACCOUNT_NOT_FOUND", "There is no such account.")
        if not payer.may_pay:
            return PermissionDenied("ROLE_MAY_NOT_PAY", "Your role does not allow you to pay.")
        if payee is None and self.payee:
            return no_such_payee()
        if supplier is not None and supplier.company_id != payer.company_id:
            return no_such_payee()
        for account in (payer, payee or payer):
            if not account.is_open:
                return FailedPrecondition("ACCOUNT_CLOSED", "The account is closed.")
            if account.currency != self.amount.currency:
                return FailedPrecondition(
                    "CURRENCY_MISMATCH", "The account is kept in another currency."
                )
        return None

    def completed(self) -> Transfer:
        return replace(self, status=Status.COMPLETED)

    def failed(self, reason: str) -> Transfer:
        return replace(self, status=Status.FAILED, failure_reason=reason)

    def cancelled(self) -> Transfer:
        if self.status not in (Status.SCHEDULED, Status.CANCELLED):
            raise FailedPrecondition("TRANSFER_BEGUN", "The transfer has begun.")
        return replace(self, status=Status.CANCELLED)


def may_pay(role: str) -> bool | None:
    """Tells what a role allows; None if it is no part in the company at all."""
    return None if role == NO_ROLE else role in PAYING_ROLES


def no_such_payee() -> NotFound:
    return NotFound("PAYEE_NOT_FOUND", "There is no such payee.")


def must_lie_ahead(wait_us: int) -> None:
    if wait_us <= 0:
        raise InvalidArgument("SCHEDULED_IN_THE_PAST", "A transfer is scheduled for the future.")
    if wait_us > LATEST_SCHEDULE_US:
        raise InvalidArgument("SCHEDULED_TOO_LATE", "A transfer is scheduled a year ahead at most.")


# Lets a scheduled transfer begin. Refused when it was cancelled.
Begin = Callable[[Transfer], Awaitable[None]]


class Ledger(Protocol):
    """What a transfer asks of the ledger. Asking twice for the same transfer is asking once."""

    async def post(self, transfer: Transfer) -> None: ...
    async def hold(self, transfer: Transfer) -> None: ...
    async def settle(self, transfer: Transfer) -> None: ...
    async def release(self, transfer: Transfer) -> None: ...


class Rail(Protocol):
    """What a transfer asks of the outside rail. Asking twice for the same is asking once."""

    async def send(self, transfer: Transfer) -> None:
        """Pays the Pix key. Transient until the rail has answered."""
