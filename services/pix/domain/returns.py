"""What is given back of a payment (devolução, pacs.004), by us or to us. No gRPC, NATS or SQL.

A payment can be given back whole or in parts, within 90 days, and never more than was paid.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import timedelta
from enum import StrEnum
from typing import Protocol

from mesh.errors import AlreadyExists, FailedPrecondition, NotFound, Violation
from mesh.errors import InvalidArgument as Invalid
from services.money import Money

from .rail import OUR_ISPB, OUTSIDE_ISPB, Kind, Order, return_id

RETURN_PERIOD_US = timedelta(days=90) // timedelta(microseconds=1)
REASONS = ("BE08", "FR01", "MD06", "SL02")
# The payee wants it so.
USUAL_REASON = "MD06"


class Direction(StrEnum):
    """Who gives back. The values are stored."""

    OUT = "out"
    IN = "in"


class Status(StrEnum):
    """How far a return has come. The names are those of the contract; the values are stored."""

    PENDING = "pending"
    SETTLED = "settled"
    FAILED = "failed"


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """What somebody asks to be given back. Without an amount it is all that is left."""

    id: str
    requested_by: str
    request_id: str | None
    amount: Money | None
    reason: str
    description: str = field(default="", repr=False)
    now_us: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Original:
    """A payment that is settled, and what was given back of it so far."""

    id: str
    account: str
    amount: Money
    returned: int
    end_to_end_id: str
    settled: bool
    created_at_us: int

    def part(self, asked: Asked) -> Money:
        """Tells how much is to be given back. Raises `FailedPrecondition` if that cannot be."""
        if not self.settled:
            raise FailedPrecondition("PAYMENT_NOT_SETTLED", "The payment is not settled.")
        if asked.now_us > self.created_at_us + RETURN_PERIOD_US:
            raise FailedPrecondition("RETURN_PERIOD_OVER", "90 days have passed.")
        left = self.amount.minor_units - self.returned
        part = asked.amount or Money(left, self.amount.currency)
        if part.currency != self.amount.currency:
            rule = Violation("amount.currency_code", "must be that of the payment")
            raise Invalid("CURRENCY_MISMATCH", "The payment is in another currency.", rule)
        if not 0 < part.minor_units <= left:
            raise FailedPrecondition("RETURN_EXCEEDS_PAYMENT", "So much is not left of it.")
        return part


@dataclass(frozen=True, kw_only=True, slots=True)
class Return:
    """A return. `account` is ours; `payer` too, if what is given back stays in the house."""

    id: str
    direction: Direction
    original_id: str
    account: str
    payer: str = ""
    requested_by: str
    request_id: str | None
    amount: Money
    reason: str
    description: str = field(default="", repr=False)
    end_to_end_id: str
    return_end_to_end_id: str
    created_at_us: int
    status: Status = Status.PENDING
    failure_reason: str = ""

    @classmethod
    def of(cls, original: Original, asked: Asked, direction: Direction, payer: str = "") -> Return:
        sender = OUR_ISPB if direction is Direction.OUT else OUTSIDE_ISPB
        return cls(
            id=asked.id,
            direction=direction,
            original_id=original.id,
            account=original.account,
            payer=payer,
            requested_by=asked.requested_by,
            request_id=asked.request_id,
            amount=original.part(asked),
            reason=asked.reason or USUAL_REASON,
            description=asked.description,
            end_to_end_id=original.end_to_end_id,
            return_end_to_end_id=return_id(sender, asked.now_us, asked.id),
            created_at_us=asked.now_us,
        )

    def must_be_asked(self, asked: Asked, end_to_end_id: str) -> None:
        """Raises `AlreadyExists` unless this return is what is asked for again."""
        now = (end_to_end_id, asked.amount or self.amount, asked.reason or USUAL_REASON)
        if now != (self.end_to_end_id, self.amount, self.reason):
            raise AlreadyExists("REQUEST_ID_TAKEN", "This request id names another return.")

    def order(self) -> Order:
        """Makes the message that gives it back."""
        return Order(
            kind=Kind.RETURN,
            end_to_end_id=self.return_end_to_end_id,
            minor_units=self.amount.minor_units,
            original=self.end_to_end_id,
            reason=self.reason,
        )

    def settled(self) -> Return:
        return replace(self, status=Status.SETTLED)

    def failed(self, reason: str) -> Return:
        return replace(self, status=Status.FAILED, failure_reason=reason)


class ReturnLedger(Protocol):
    """What a return asks of the ledger. Asking twice for the same return is asking once."""

    async def hold(self, given: Return) -> None: ...
    async def give(self, given: Return) -> None: ...
    async def release(self, given: Return) -> None: ...
    async def take_back(self, given: Return) -> None: ...


def no_such_receipt() -> NotFound:
    return NotFound("RECEIPT_NOT_FOUND", "There is no such payment.")


def payer_unknown() -> FailedPrecondition:
    return FailedPrecondition("PAYER_UNKNOWN", "It is not known who paid.")
