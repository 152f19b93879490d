"""The rules of the ledger: double entry, holds, and what is refused. No gRPC, no NATS, no SQL.

An entry moves money between accounts; its postings sum to zero in each currency. A hold sets funds
aside until it is posted or released. Each has an id chosen by the caller, and one answer for ever:
asking again tells it again. A refusal is an answer too, and is kept, so that a request that is late
in the network cannot move money after its caller was told that it would not.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from hashlib import blake2b
from typing import Protocol

from mesh.errors import AlreadyExists, FailedPrecondition, InvalidArgument, NotFound, Refused
from services.money import Money

# Ten trillion of the main unit: a thousand such amounts still add up within 64 bits.
MOST_MINOR_UNITS = 10**15
BALANCE_LIMIT = 10**18

# What a company's account is kept in.
CURRENCY = "BRL"

PAYING_ROLES = frozenset({"OWNER", "OPERATOR"})

REFUSALS: dict[str, tuple[type[Refused], str]] = {
    "ACCOUNT_NOT_FOUND": (NotFound, "There is no such account."),
    "ACCOUNT_CLOSED": (FailedPrecondition, "The account is closed."),
    "CURRENCY_MISMATCH": (FailedPrecondition, "The account is kept in another currency."),
    "INSUFFICIENT_FUNDS": (FailedPrecondition, "The account has not enough funds."),
    "BALANCE_LIMIT_EXCEEDED": (FailedPrecondition, "The account cannot take so much."),
}


def refusal(reason: str) -> Refused:
    kind, message = REFUSALS[reason]
    return kind(reason, message)


@dataclass(frozen=True, kw_only=True, slots=True)
class Account:
    """An account as it stands. `version` counts its postings."""

    id: str
    company_id: str
    currency: str
    balance: int
    held: int
    version: int
    is_open: bool

    @classmethod
    def new(cls, account_id: str, company_id: str) -> Account:
        return cls(
            id=account_id,
            company_id=company_id,
            currency=CURRENCY,
            balance=0,
            held=0,
            version=0,
            is_open=True,
        )

    def closed(self) -> Account:
        if self.balance or self.held:
            raise FailedPrecondition("ACCOUNT_NOT_EMPTY", "The account is not empty.")
        return replace(self, is_open=False)


@dataclass(frozen=True, slots=True)
class Posting:
    """One side of an entry; a negative amount takes from the balance."""

    account: str
    amount: Money


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """Moves money between accounts, all of it or nothing."""

    id: str
    postings: Sequence[Posting]
    transfer: str
    description: str
    counterparty: str
    posted_at_us: int
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
        said = repr((sides, self.transfer, self.description, self.counterparty, *self.taken_back()))
        return blake2b(said.encode(), digest_size=16).hexdigest()

    def taken_back(self) -> tuple[str, ...]:
        return (self.reverses,) if self.reverses else ()

    def other_side(self, posting: Posting) -> str:
        """Names the other side as a statement shows it."""
        others = (other.account for other in self.postings if other.account != posting.account)
        return self.counterparty or next(others, posting.account)

    def turned(self, order: Reversal) -> Entry:
        """Makes the entry that takes this one back."""
        return Entry(
            id=order.id,
            postings=[
                Posting(side.account, Money(-side.amount.minor_units, side.amount.currency))
                for side in self.postings
            ],
            transfer=order.transfer,
            description=order.description,
            counterparty=order.counterparty,
            posted_at_us=order.posted_at_us,
            reverses=self.id,
        )

    def answer(self, kept: Answer) -> int:
        """Tells when the entry was posted, or raises what it was refused for."""
        if kept.fingerprint != self.fingerprint():
            raise AlreadyExists("ENTRY_ID_TAKEN", "This id names another entry.")
        if kept.refusal:
            raise refusal(kept.refusal)
        return kept.posted_at_us


@dataclass(frozen=True, kw_only=True, slots=True)
class Reversal:
    """Asks for an entry to be taken back."""

    id: str
    reverses: str
    transfer: str
    description: str
    counterparty: str
    posted_at_us: int


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of an entry, as it was kept."""

    fingerprint: str
    refusal: str
    posted_at_us: int


class HoldStatus(StrEnum):
    """How far a hold has come; only an open one may go on."""

    OPEN = "open"
    POSTED = "posted"
    RELEASED = "released"


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

    def entry(self, order: HoldPosting) -> Entry:
        """Makes the entry that moves the held funds; it has the hold's id."""
        credits = order.postings or (Posting(order.payee, self.amount),)
        if any(posting.account == self.account for posting in credits):
            raise InvalidArgument("SAME_ACCOUNT", "Held funds go to another account.")
        if any(posting.amount.minor_units <= 0 for posting in credits):
            raise InvalidArgument("AMOUNT_OUT_OF_RANGE", "Held funds are only given.")
        moved = sum(posting.amount.minor_units for posting in credits)
        if moved > self.amount.minor_units:
            raise FailedPrecondition("HOLD_EXCEEDED", "More is to be moved than is held.")
        return Entry(
            id=self.id,
            postings=(Posting(self.account, Money(-moved, self.amount.currency)), *credits),
            transfer=self.id,
            description=order.description,
            counterparty=order.counterparty,
            posted_at_us=order.posted_at_us,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class HoldPosting:
    """Asks for held funds to be moved: all to the payee, or some as the postings say."""

    hold_id: str
    payee: str
    postings: Sequence[Posting] = ()
    description: str
    counterparty: str
    posted_at_us: int


@dataclass(frozen=True, slots=True)
class Report:
    """What a check of the ledger found; `faults` are sentences."""

    entries: int
    accounts: int
    total_minor_units: int
    faults: Sequence[str]


class Books(Protocol):
    """The ledger's rows, within one unit of work; what is read is locked to its end."""

    async def account(self, account_id: str) -> Account | None: ...
    async def close(self, account: Account) -> None: ...

    async def enter(self, entry: Entry, refused: str = "") -> bool:
        """Keeps the answer to an entry, unless its id has one."""

    async def answer(self, entry_id: str) -> Answer: ...

    async def entry(self, entry_id: str) -> Entry | None:
        """Reads an entry that was posted."""

    async def write(self, entry: Entry, posting: Posting, unheld: int) -> bool:
        """Changes a balance by a posting and frees held funds, if the account allows it."""

    async def hold(self, hold_id: str) -> Hold | None: ...

    async def keep(self, hold: Hold) -> bool:
        """Keeps a hold, unless its id is known."""

    async def set_aside(self, hold: Hold) -> bool:
        """Takes a hold from what is available, if the account allows it."""

    async def give_back(self, hold: Hold) -> None: ...

    async def spend(self, hold: Hold) -> None: ...

    async def overdue(self, at_us: int, limit: int) -> Sequence[Hold]:
        """Reads open holds that have expired."""


def find(accounts: Sequence[Account], account_id: str) -> Account:
    for account in accounts:
        if account.id == account_id:
            return account
    raise refusal("ACCOUNT_NOT_FOUND")


def must_be_movable(amount: Money) -> Money:
    if not 0 < abs(amount.minor_units) <= MOST_MINOR_UNITS:
        raise InvalidArgument("AMOUNT_OUT_OF_RANGE", "The amount is nothing, or too much.")
    return amount


def why_not(account: Account | None, amount: Money) -> str:
    """Names the reason for which an account did not allow a change."""
    if account is None:
        return "ACCOUNT_NOT_FOUND"
    if not account.is_open:
        return "ACCOUNT_CLOSED"
    if account.currency != amount.currency:
        return "CURRENCY_MISMATCH"
    if account.balance + amount.minor_units > BALANCE_LIMIT:
        return "BALANCE_LIMIT_EXCEEDED"
    return "INSUFFICIENT_FUNDS"


async def post(books: Books, entry: Entry, held: Hold | None = None) -> int:
    """Posts an entry, out of a hold if there is one, and tells when it was posted."""
    if not await books.enter(entry):
        return entry.answer(await books.answer(entry.id))
    # In the order of the ids, so that no two entries wait for each other.
    for posting in sorted(entry.postings, key=lambda posting: posting.account):
        unheld = held.amount.minor_units if held and held.account == posting.account else 0
        if not await books.write(entry, posting, unheld):
            raise refusal(why_not(await books.account(posting.account), posting.amount))
    return entry.posted_at_us


async def refuse(books: Books, entry: Entry, reason: str) -> Answer:
    """Keeps the refusal of an entry, unless the entry was answered meanwhile; tells the answer."""
    await books.enter(entry, reason)
    return await books.answer(entry.id)


async def reversal(books: Books, order: Reversal) -> Entry:
    """Makes the entry that takes another back."""
    original = await books.entry(order.reverses)
    if original is None:
        raise NotFound("ENTRY_NOT_FOUND", "There is no such entry.")
    if original.reverses:
        raise FailedPrecondition("ENTRY_IS_REVERSAL", "A reversal is not reversed.")
    return original.turned(order)


async def place_hold(books: Books, hold: Hold, at_us: int) -> None:
    """Sets funds aside."""
    if not await books.keep(hold):
        return hold.must_repeat(await known_hold(books, hold.id), at_us)
    hold.must_stand(at_us)
    if not await books.set_aside(hold):
        raise refusal(why_not(await books.account(hold.account), hold.amount))


async def post_hold(books: Books, order: HoldPosting) -> int:
    """Moves held funds, and tells when they were moved."""
    hold = await known_hold(books, order.hold_id)
    hold.must_stand(order.posted_at_us)
    if hold.status is HoldStatus.OPEN:
        await books.spend(hold)
    return await post(books, hold.entry(order), hold)


async def release_hold(books: Books, hold_id: str) -> None:
    """Gives held funds back, and closes the hold's id for ever, known or not."""
    never = Hold(id=hold_id, account="", amount=Money(0, ""), status=HoldStatus.RELEASED)
    if await books.keep(never):
        return
    hold = await known_hold(books, hold_id)
    if hold.status is HoldStatus.POSTED:
        raise FailedPrecondition("HOLD_POSTED", "The held funds were moved.")
    if hold.status is HoldStatus.OPEN:
        await books.give_back(hold)


async def expire_holds(books: Books, at_us: int, limit: int) -> int:
    """Gives back holds that have expired, and tells how many there were."""
    overdue = await books.overdue(at_us, limit)
    for hold in overdue:
        await books.give_back(hold)
    return len(overdue)


async def known_hold(books: Books, hold_id: str) -> Hold:
    hold = await books.hold(hold_id)
    if hold is None:
        raise NotFound("HOLD_NOT_FOUND", "There is no such hold.")
    return hold


async def close_account(books: Books, account_id: str) -> Account:
    """Closes an account that is empty."""
    account = await books.account(account_id)
    if account is None:
        raise refusal("ACCOUNT_NOT_FOUND")
    if account.is_open:
        await books.close(account.closed())
    return replace(account, is_open=False)
