"""What is read of the books: balances, now and then, and reports."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from mesh.errors import InvalidArgument
from services.money import Money

from .books import Posting
from .chart import Account, refusal

# For so long (microseconds) an entry may be on its way into the books with the time it was given.
UNSETTLED_US = 30_000_000

PAYING_ROLES = frozenset({"OWNER", "OPERATOR"})


@dataclass(frozen=True, slots=True)
class BalanceThen:
    """A balance at an instant, and how many lines the account had by then."""

    account: str
    balance: Money
    version: int
    at_us: int


@dataclass(slots=True)
class Standing:
    """What there is under an id: the sides of an entry, and what is held, in minor units."""

    id: str
    postings: list[Posting] = field(default_factory=list)
    held: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class TrialLine:
    """What is on the accounts of a kind: what we are owed (debit), and what we owe (credit)."""

    kind: str
    currency: str
    accounts: int
    debit: int
    credit: int


@dataclass(frozen=True, slots=True)
class Report:
    """What a check of the ledger found; `faults` are sentences."""

    entries: int
    accounts: int
    total_minor_units: int
    faults: Sequence[str]


def find(accounts: Sequence[Account], account_id: str) -> Account:
    for account in accounts:
        if account.id == account_id:
            return account
    raise refusal("ACCOUNT_NOT_FOUND")


def must_be_past(at_us: int, now_us: int) -> int:
    if not 0 <= at_us <= now_us:
        raise InvalidArgument("INSTANT_NOT_PAST", "The instant is not past.")
    return at_us


def is_unsettled(at_us: int, now_us: int) -> bool:
    return at_us > now_us - UNSETTLED_US
