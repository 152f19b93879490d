"""The chart of accounts: what kinds there are, and what an account of each kind allows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from mesh.errors import FailedPrecondition, NotFound, Refused
from services.money import Money

# Ten trillion of the main unit: a thousand such amounts still add up within 64 bits.
MOST_MINOR_UNITS = 10**15
BALANCE_LIMIT = 10**18

# What a company's account is kept in.
CURRENCY = "BRL"

# The seal of an account without postings.
UNSEALED = bytes(32)

REFUSALS: dict[str, tuple[type[Refused], str]] = {
    "ACCOUNT_NOT_FOUND": (NotFound, "There is no such account."),
    "ACCOUNT_CLOSED": (FailedPrecondition, "The account is closed."),
    "ACCOUNT_BLOCKED": (FailedPrecondition, "The account is blocked."),
    "CURRENCY_MISMATCH": (FailedPrecondition, "The account is kept in another currency."),
    "INSUFFICIENT_FUNDS": (FailedPrecondition, "The account has not enough funds."),
    "BALANCE_LIMIT_EXCEEDED": (FailedPrecondition, "The account cannot take so much."),
    "ENTRY_REVERSED": (FailedPrecondition, "The entry was taken back already."),
}


class Kind(StrEnum):
    """What an account stands for."""

    CUSTOMER = "customer"
    CLEARING = "clearing"
    FEES = "fees"
    TREASURY = "treasury"


@dataclass(frozen=True, kw_only=True)
class Rules:
    """What accounts of a kind allow: how far they may fall, whether funds may be held on them, and
    whether they may be closed. The database holds them to it by constraints.
    """

    floor: int = 0
    holds: bool = False
    ends: bool = False


CHART: Mapping[Kind, Rules] = {
    # What customers have with us.
    Kind.CUSTOMER: Rules(holds=True, ends=True),
    # What the rail owes us, less what we owe the rail.
    Kind.CLEARING: Rules(floor=-BALANCE_LIMIT),
    # What we have earned.
    Kind.FEES: Rules(),
    # What we have.
    Kind.TREASURY: Rules(floor=-BALANCE_LIMIT),
}


@dataclass(kw_only=True, slots=True)
class Account:
    """An account as it stands.

    `version` counts its postings, `seal` is that of the last one, posted at `posted_at_us`. The
    balance less what is held is never below `floor`, and never above `ceiling`.
    """

    id: str
    company_id: str
    kind: Kind = Kind.CUSTOMER
    currency: str = CURRENCY
    balance: int = 0
    held: int = 0
    floor: int = 0
    ceiling: int = BALANCE_LIMIT
    version: int = 0
    is_open: bool = True
    debits_blocked: bool = False
    credits_blocked: bool = False
    block_reason: str = ""
    seal: bytes = UNSEALED
    posted_at_us: int = 0

    @property
    def available(self) -> int:
        return self.balance - self.held

    def why_not(self, amount: Money, balance: int, freed: int = 0) -> str:
        """Names the reason why an amount cannot be added to this balance; empty if it can.

        What is taken out of a hold, `freed`, was promised before the account was blocked.
        """
        units = amount.minor_units
        if not self.is_open:
            return "ACCOUNT_CLOSED"
        if self.credits_blocked if units > 0 else self.debits_blocked and not freed:
            return "ACCOUNT_BLOCKED"
        if self.currency != amount.currency:
            return "CURRENCY_MISMATCH"
        if balance + units > self.ceiling:
            return "BALANCE_LIMIT_EXCEEDED"
        if units < 0 and balance + units - self.held + freed < self.floor:
            return "INSUFFICIENT_FUNDS"
        return ""

    def close(self) -> None:
        if not CHART[self.kind].ends:
            raise FailedPrecondition("ACCOUNT_NOT_CLOSABLE", "An account of the bank stays open.")
        if self.balance or self.held:
            raise FailedPrecondition("ACCOUNT_NOT_EMPTY", "The account is not empty.")
        self.is_open = False

    def block(self, debits: bool, credits: bool, reason: str) -> bool:
        """Blocks it, or unblocks it; tells whether that changes anything."""
        wanted = (debits, credits, reason)
        before = (self.debits_blocked, self.credits_blocked, self.block_reason)
        self.debits_blocked, self.credits_blocked, self.block_reason = wanted
        return wanted != before

    def limit(self, floor: int, ceiling: int) -> None:
        """Sets the limits. Raises `FailedPrecondition` if the account is beyond them already."""
        if self.available < floor or self.balance > ceiling:
            raise FailedPrecondition("LIMIT_PASSED", "The account is beyond this limit already.")
        self.floor, self.ceiling = floor, ceiling


def refusal(reason: str) -> Refused:
    kind, message = REFUSALS[reason]
    return kind(reason, message)
