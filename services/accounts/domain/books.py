"""Double entry, holds, and what is refused.

An entry moves money between accounts; its postings sum to zero in each currency. A hold sets funds
aside until it is posted, released or expires. Each has an id chosen by the caller, and one answer
for ever: asking again tells it again. A refusal is an answer too, and is kept, so that a request
that is late in the network cannot move money after its caller was told that it would not.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from hashlib import blake2b, sha256
from typing import TypeAlias

from mesh.errors import AlreadyExists, FailedPrecondition, InvalidArgument, NotFound
from services.money import Money

from .chart import CHART, MOST_MINOR_UNITS, Account, refusal


@dataclass(frozen=True, slots=True)
class Posting:
    """One side of an entry; a negative amount takes from the balance."""

    account: str
    amount: Money

    def turned(self) -> Posting:
        return Posting(self.account, Money(-self.amount.minor_units, self.amount.currency))


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """Moves money between accounts, all of it or nothing."""

    id: str
    postings: Sequence[Posting]
    transfer: str = ""
    description: str = ""
    counterparty: str = ""
    # The entry that this one takes back, if any.
    reverses: str = ""

    def __post_init__(self) -> None:
        sums: Counter[str] = Counter()
        for posting in self.postings:
            sums[posting.amount.currency] += must_be_movable(posting.amount).minor_units
        if len(self.postings) < 2 or any(sums.values()):
            raise InvalidArgument("ENTRY_UNBALANCED", "The postings do not sum to zero.")

    def fingerprint(self) -> str:
        """Tells two entries apart, whenever they were posted."""
        sides = sorted(
            (posting.account, posting.amount.minor_units, posting.amount.currency)
            for posting in self.postings
        )
        taken_back = (self.reverses,) if self.reverses else ()
        said = ascii((sides, self.transfer, self.description, self.counterparty, *taken_back))
        return blake2b(said.encode(), digest_size=16).hexdigest()

    def other_side(self, posting: Posting) -> str:
        """Names the other side as a statement shows it."""
        others = (other.account for other in self.postings if other.account != posting.account)
        return self.counterparty or next(others, posting.account)

    def answer(self, kept: Answer) -> int:
        """Tells when the entry was posted, or raises what it was refused for."""
        if kept.fingerprint != self.fingerprint():
            raise AlreadyExists("ENTRY_ID_TAKEN", "This id names another entry.")
        if kept.refusal:
            raise refusal(kept.refusal)
        return kept.posted_at_us


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of an entry, as it was kept."""

    fingerprint: str
    refusal: str
    posted_at_us: int


@dataclass(kw_only=True, slots=True)
class Line:
    """A posting as it stands on its account, with the balance that it left behind.

    `version` numbers the lines of an account, from 1, without a gap; their times never go back.
    """

    account: str
    version: int
    entry_id: str
    transfer: str
    amount: Money
    balance: int
    counterparty: str = field(repr=False)
    description: str = field(repr=False)
    posted_at_us: int
    reverses: str = ""
    seal: bytes = b""

    def sealed(self, previous: bytes) -> bytes:
        """Seals this line and, by the seal before it, all that came before (`EntryPosted.seal`)."""
        fixed = (
            self.account,
            str(self.version),
            self.entry_id,
            self.transfer,
            str(self.amount.minor_units),
            self.amount.currency,
            str(self.balance),
            str(self.posted_at_us),
            str(len(self.counterparty)),
        )
        said = "\n".join((*fixed, self.counterparty + self.description))
        return sha256(previous + said.encode()).digest()


class HoldStatus(StrEnum):
    """How far a hold has come; only an open one may go on."""

    OPEN = "open"
    POSTED = "posted"
    RELEASED = "released"


class End(StrEnum):
    """Why held funds were given back."""

    RELEASED = "released"
    EXPIRED = "expired"
    REMAINDER = "remainder"


@dataclass(frozen=True, kw_only=True, slots=True)
class Hold:
    """Funds set aside on an account."""

    id: str
    account: str
    amount: Money
    status: HoldStatus = HoldStatus.OPEN
    # When it is given back by itself; zero for never.
    expires_at_us: int = 0

    def is_over(self, at_us: int) -> bool:
        return 0 < self.expires_at_us <= at_us

    def must_stand(self, at_us: int) -> None:
        if self.status is not HoldStatus.POSTED and self.is_over(at_us):
            raise FailedPrecondition("HOLD_EXPIRED", "The hold has expired.")
        if self.status is HoldStatus.RELEASED:
            raise FailedPrecondition("HOLD_RELEASED", "The hold was released.")

    def must_repeat(self, earlier: Hold, at_us: int) -> None:
        earlier.must_stand(at_us)
        if (self.account, self.amount) != (earlier.account, earlier.amount):
            raise AlreadyExists("HOLD_ID_TAKEN", "This id names another hold.")


@dataclass(frozen=True, slots=True)
class SetAside:
    """Funds were set aside."""

    hold: Hold


@dataclass(frozen=True, slots=True)
class GivenBack:
    """Held funds were given back: all of them, or what was not moved."""

    hold: Hold
    amount: Money
    why: End


@dataclass(frozen=True, slots=True)
class Closed:
    """An account was closed."""

    account: str


@dataclass(frozen=True, slots=True)
class Blocked:
    """An account was blocked, or, if neither way is, unblocked."""

    account: str
    debits: bool
    credits: bool
    reason: str


Fact: TypeAlias = Line | SetAside | GivenBack | Closed | Blocked


@dataclass(kw_only=True, slots=True)
class Books:
    """What some orders need of the ledger, in memory and locked, and what became of it.

    `originals` are entries that reversals name, `reversed` those of them that are taken back. What
    is to be kept: all accounts of `changed`, holds of `new_holds` and `ended`, `entries`, and the
    lines among the facts. An order that is refused has changed nothing but `entries`.
    """

    now_us: int
    accounts: dict[str, Account] = field(default_factory=dict)
    holds: dict[str, Hold] = field(default_factory=dict)
    answers: dict[str, Answer] = field(default_factory=dict)
    originals: dict[str, Entry] = field(default_factory=dict)
    reversed: set[str] = field(default_factory=set)
    changed: dict[str, Account] = field(default_factory=dict)
    new_holds: dict[str, Hold] = field(default_factory=dict)
    ended: dict[str, Hold] = field(default_factory=dict)
    entries: list[tuple[Entry, Answer]] = field(default_factory=list)
    facts: list[Fact] = field(default_factory=list)

    def post(self, entry: Entry, held: Hold | None = None) -> int:
        """Posts an entry, out of a hold if there is one, and tells when it was posted.

        Raises what keeps it from being posted. That is kept as the answer, but not if there is a
        hold: held funds stay held, and may be posted later.
        """
        if entry.id in self.answers:
            return entry.answer(self.answers[entry.id])
        reason = self.why_not(entry, held)
        if reason and held:
            raise refusal(reason)
        accounts = [] if reason else [self.accounts[side.account] for side in entry.postings]
        at_us = max(self.now_us, *(account.posted_at_us for account in accounts), 0)
        answer = Answer(entry.fingerprint(), reason, at_us)
        self.answers[entry.id] = answer
        self.entries.append((entry, answer))
        if not reason:
            if held:
                self.end(held, HoldStatus.POSTED)
            for account, posting in zip(accounts, entry.postings, strict=True):
                self.write(account, entry, posting, at_us)
            if entry.reverses:
                self.reversed.add(entry.reverses)
            return at_us
        raise refusal(reason)

    def why_not(self, entry: Entry, held: Hold | None) -> str:
        """Names the reason why an entry cannot be posted; empty if it can."""
        if entry.reverses in self.reversed:
            return "ENTRY_REVERSED"
        balances: dict[str, int] = {}
        for posting in entry.postings:
            account = self.accounts.get(posting.account)
            if account is None:
                return "ACCOUNT_NOT_FOUND"
            balance = balances.get(account.id, account.balance)
            freed = held.amount.minor_units if held and held.account == account.id else 0
            if reason := account.why_not(posting.amount, balance, freed):
                return reason
            balances[account.id] = balance + posting.amount.minor_units
        return ""

    def write(self, account: Account, entry: Entry, posting: Posting, at_us: int) -> None:
        account.balance += posting.amount.minor_units
        account.version += 1
        account.posted_at_us = at_us
        line = Line(
            account=account.id,
            version=account.version,
            entry_id=entry.id,
            transfer=entry.transfer,
            amount=posting.amount,
            balance=account.balance,
            counterparty=entry.other_side(posting),
            description=entry.description,
            posted_at_us=at_us,
            reverses=entry.reverses,
        )
        line.seal = account.seal = line.sealed(account.seal)
        self.facts.append(line)
        self.changed[account.id] = account

    def set_aside(self, hold: Hold) -> None:
        """Takes a hold from what is available. Raises what keeps it from being taken."""
        account = self.account(hold.account)
        if not CHART[account.kind].holds:
            raise FailedPrecondition("ACCOUNT_NOT_HOLDABLE", "Nothing is held on this account.")
        taken = Money(-hold.amount.minor_units, hold.amount.currency)
        if reason := account.why_not(taken, account.balance):
            raise refusal(reason)
        account.held += hold.amount.minor_units
        self.changed[account.id] = account
        self.remember(hold)
        self.facts.append(SetAside(hold))

    def remember(self, hold: Hold) -> None:
        """Keeps a hold whose id is new."""
        self.holds[hold.id] = self.new_holds[hold.id] = hold

    def end(self, hold: Hold, status: HoldStatus) -> None:
        """Ends an open hold: what it held is free."""
        account = self.account(hold.account)
        account.held -= hold.amount.minor_units
        self.changed[account.id] = account
        self.holds[hold.id] = ended = replace(hold, status=status)
        if hold.id in self.new_holds:
            self.new_holds[hold.id] = ended
        else:
            self.ended[hold.id] = ended

    def account(self, account_id: str) -> Account:
        """Finds an account. Raises `NotFound`."""
        account = self.accounts.get(account_id)
        if account is None:
            raise refusal("ACCOUNT_NOT_FOUND")
        return account

    def hold(self, hold_id: str) -> Hold:
        """Finds a hold. Raises `NotFound`."""
        hold = self.holds.get(hold_id)
        if hold is None:
            raise NotFound("HOLD_NOT_FOUND", "There is no such hold.")
        return hold


class Recent:
    """Which lines were written of late: of some accounts, each from a version on."""

    MOST = 10_000

    def __init__(self) -> None:
        self._first: dict[str, int] = {}

    def note(self, lines: Sequence[Line]) -> None:
        for line in lines:
            if len(self._first) < self.MOST:
                self._first.setdefault(line.account, line.version)

    def take(self, most: int) -> list[tuple[str, int]]:
        """Gives some of them away."""
        return [self._first.popitem() for _ in range(min(most, len(self._first)))]


def must_be_movable(amount: Money) -> Money:
    if not 0 < abs(amount.minor_units) <= MOST_MINOR_UNITS:
        raise InvalidArgument("AMOUNT_OUT_OF_RANGE", "The amount is nothing, or too much.")
    return amount
