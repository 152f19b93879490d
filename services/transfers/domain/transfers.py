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

from .terms import FeeKind, Limit, Terms, Use, day_of, exceeded, night_of

LATEST_SCHEDULE_US = 366 * 24 * 3600 * 1_000_000
NO_ROLE = "UNSPECIFIED"
PAYING_ROLES = frozenset({"OWNER", "OPERATOR"})
APPROVING_ROLES = frozenset({"OWNER", "APPROVER"})

# How long a transfer waits for an approver.
APPROVAL_US = 7 * 24 * 3600 * 1_000_000
REJECTED, EXPIRED = "APPROVAL_REJECTED", "APPROVAL_EXPIRED"


class Status(StrEnum):
    """How far a transfer has come. The names are those of the contract; the values are stored."""

    AWAITING_APPROVAL = "awaiting"
    SCHEDULED = "scheduled"
    PENDING = "pending"
    COMPLETED = "completed"
    REVERSED = "reversed"
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

    A supplier is paid at the Pix key it has when the transfer is accepted. `fee` is taken beside
    the amount, and `returned` has come back; both are minor units. `counted_at_us` tells in which
    day and night the transfer counts against the limits; None if it does not.
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
    company: str = ""
    fee: int = 0
    returned: int = 0
    decided_by: str = ""
    approval_expires_us: int | None = None
    counted_at_us: int | None = None
    refund_of: str = ""
    recurring: str = ""
    batch: str = ""
    version: int = 1

    def __post_init__(self) -> None:
        if self.payer == self.payee:
            raise InvalidArgument("SAME_ACCOUNT", "A transfer needs two different accounts.")
        if self.amount.minor_units <= 0:
            raise InvalidArgument("AMOUNT_NOT_POSITIVE", "A transfer moves more than nothing.")

    def must_lie_ahead(self) -> None:
        if self.scheduled_for_us is None:
            return
        wait_us = self.scheduled_for_us - self.created_at_us
        if wait_us <= 0:
            raise InvalidArgument("SCHEDULED_IN_THE_PAST", "A transfer is scheduled for later.")
        if wait_us > LATEST_SCHEDULE_US:
            raise InvalidArgument("SCHEDULED_TOO_LATE", "A transfer is scheduled within a year.")

    @property
    def cost(self) -> Money:
        """The amount and the fee together."""
        return Money(self.amount.minor_units + self.fee, self.amount.currency)

    def must_repeat(self, earlier: Transfer) -> None:
        if self.instruction() != earlier.instruction():
            raise AlreadyExists("REQUEST_ID_TAKEN", "This request id names another transfer.")

    def instruction(self) -> tuple[object, ...]:
        """Tells two transfers apart that were asked for under one request id."""
        # Where a supplier is paid may have changed since.
        key = "" if self.supplier_id else self.pix_key
        where = (self.payer, self.payee, self.supplier_id, key, self.refund_of)
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

    def on(
        self, terms: Terms, accounts: Mapping[str, Account], step_up: Refused | None
    ) -> Transfer:
        """Gives the transfer as it is accepted on the company's terms, with its fee.

        `step_up` is why the user's second factor does not count as just proven, if it does not.
        What stays within a company, and what is given back, is not limited, and costs nothing.
        Raises `step_up`, or a limit's refusal.
        """
        company = accounts[self.payer].company_id
        payee = accounts.get(self.payee)
        stays = payee is not None and payee.company_id == company
        if stays or self.refund_of:
            return replace(self, company=company)
        amount = self.amount.minor_units
        if amount > terms.most(Limit.PER_TRANSFER):
            raise exceeded(Limit.PER_TRANSFER, terms.most(Limit.PER_TRANSFER))
        if step_up is not None and amount > terms.most(Limit.WITHOUT_STEP_UP):
            raise step_up
        fee = terms.fees[FeeKind.PIX if self.pix_key else FeeKind.INTERNAL].of(amount)
        now_us = self.created_at_us
        if amount > terms.most(Limit.WITHOUT_APPROVAL):
            waits = Status.AWAITING_APPROVAL
            expires_us = now_us + APPROVAL_US
            return replace(
                self, company=company, fee=fee, status=waits, approval_expires_us=expires_us
            )
        return replace(self, company=company, fee=fee, counted_at_us=self.counts_at(now_us))

    def counts_at(self, now_us: int) -> int:
        """Tells when it is to be carried out: it counts in that day, and in that night."""
        return max(now_us, self.scheduled_for_us or 0)

    def uses(self, terms: Terms) -> list[Use]:
        """Tells what the transfer uses up, if it counts."""
        if self.counted_at_us is None:
            return []
        limits = dict(zip((Limit.PER_DAY, Limit.PIX_AT_NIGHT), self.periods(), strict=False))
        amount = self.amount.minor_units
        return [Use(period, limit, amount, terms.most(limit)) for limit, period in limits.items()]

    def periods(self) -> list[str]:
        """Names the day in which the transfer counts, and the night if it counts in one."""
        if self.counted_at_us is None:
            return []
        night = night_of(self.counted_at_us) if self.pix_key else None
        return [day_of(self.counted_at_us), *([night] if night else [])]

    def completed(self) -> Transfer:
        return replace(self, status=Status.COMPLETED)

    def failed(self, reason: str) -> Transfer:
        return replace(self, status=Status.FAILED, failure_reason=reason)

    def cancelled(self) -> Transfer:
        if self.status not in (Status.SCHEDULED, Status.AWAITING_APPROVAL, Status.CANCELLED):
            raise FailedPrecondition("TRANSFER_BEGUN", "The transfer has begun.")
        return replace(self, status=Status.CANCELLED)

    def must_be_decided_by(self, user_id: str, role: str) -> None:
        """Raises unless the user may let the transfer go ahead, or not: four eyes see it."""
        if role not in APPROVING_ROLES:
            raise PermissionDenied("ROLE_MAY_NOT_APPROVE", "Your role does not let you approve.")
        if user_id == self.requested_by:
            raise PermissionDenied("MAKER_MAY_NOT_APPROVE", "Another must approve your transfer.")

    def approved(
        self, user_id: str, now_us: int, terms: Terms, step_up: Refused | None
    ) -> Transfer:
        """Gives the transfer as it goes ahead. Raises `step_up`, or `FailedPrecondition`."""
        if self.status is not Status.AWAITING_APPROVAL or now_us >= (self.approval_expires_us or 0):
            raise FailedPrecondition("NOT_AWAITING_APPROVAL", "Nobody is to approve it any more.")
        if step_up is not None and self.amount.minor_units > terms.most(Limit.WITHOUT_STEP_UP):
            raise step_up
        is_early = (self.scheduled_for_us or 0) > now_us
        status = Status.SCHEDULED if is_early else Status.PENDING
        counts_at_us = self.counts_at(now_us)
        return replace(self, status=status, decided_by=user_id, counted_at_us=counts_at_us)

    def refund(self, asked: Refund) -> Transfer:
        """Makes the transfer that gives money of this one back. Raises `FailedPrecondition`."""
        if not self.payee or self.refund_of:
            raise FailedPrecondition("NOT_REFUNDABLE", "Only what an account was paid is refunded.")
        if self.status not in (Status.COMPLETED, Status.REVERSED):
            raise FailedPrecondition("NOT_COMPLETED", "No money has moved yet.")
        left = Money(self.amount.minor_units - asked.given_back, self.amount.currency)
        amount = asked.amount or left
        if amount.currency != left.currency or not 0 < amount.minor_units <= left.minor_units:
            raise refund_exceeds()
        return Transfer(
            id=asked.id,
            requested_by=asked.requested_by,
            request_id=asked.request_id,
            payer=self.payee,
            payee=self.payer,
            pix_key="",
            amount=amount,
            description=asked.description,
            created_at_us=asked.created_at_us,
            scheduled_for_us=None,
            status=Status.PENDING,
            refund_of=self.id,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Refund:
    """An instruction to give money of a transfer back; all that is left if it does not say.

    `given_back` is what refunds that were accepted before take, in minor units.
    """

    id: str
    requested_by: str
    request_id: str
    refund_of: str
    amount: Money | None
    description: str
    created_at_us: int
    given_back: int = 0

    def must_repeat(self, earlier: Transfer) -> None:
        same = (self.refund_of, self.description) == (earlier.refund_of, earlier.description)
        if not same or self.amount not in (None, earlier.amount):
            raise AlreadyExists("REQUEST_ID_TAKEN", "This request id names another transfer.")


def masked(key: str) -> str:
    """Shows as much of a Pix key as tells it from others: lines travel, and a key is personal."""
    name, at, domain = key.rpartition("@")
    if at:
        return f"{name[:2]}***@{domain}"
    return f"***{key[-4:]}" if key else ""


def may_pay(role: str) -> bool | None:
    """Tells what a role allows; None if it is no part in the company at all."""
    return None if role == NO_ROLE else role in PAYING_ROLES


def no_such_payee() -> NotFound:
    return NotFound("PAYEE_NOT_FOUND", "There is no such payee.")


def refund_exceeds() -> FailedPrecondition:
    return FailedPrecondition("REFUND_EXCEEDS_TRANSFER", "Not so much is left to give back.")


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
        """Gives the payment to the rail. Refused only if the rail does not have it."""

    async def confirm(self, transfer: Transfer) -> None:
        """Asks what became of the payment. Transient until the rail has answered for good."""
