"""What may be asked of the books, and how it is carried out on them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

from mesh.errors import FailedPrecondition, InvalidArgument, NotFound
from services.money import Money

from .books import (
    Blocked,
    Books,
    Closed,
    End,
    Entry,
    GivenBack,
    Hold,
    HoldStatus,
    Posting,
)
from .chart import Account, refusal

A = TypeVar("A", covariant=True)


@dataclass(frozen=True, kw_only=True)
class Needs:
    """What must be read for an order before its accounts are known."""

    hold: str = ""
    entry: str = ""
    original: str = ""


class Order(ABC, Generic[A]):
    """Something that is asked of the books."""

    @abstractmethod
    def needs(self) -> Needs:
        """Names the hold, the entry and the original that it is about."""

    @abstractmethod
    def accounts(self, books: Books) -> Iterable[str]:
        """Names the accounts, once what it needs is in the books."""

    @abstractmethod
    def carry_out(self, books: Books) -> A:
        """Changes the books and answers, or raises `Refused`."""


@dataclass(frozen=True)
class Post(Order[int]):
    """Posts an entry. The answer is when it was posted."""

    entry: Entry

    def needs(self) -> Needs:
        return Needs(entry=self.entry.id)

    def accounts(self, books: Books) -> Iterable[str]:
        return [posting.account for posting in self.entry.postings]

    def carry_out(self, books: Books) -> int:
        return books.post(self.entry)


@dataclass(frozen=True, kw_only=True)
class Reverse(Order[int]):
    """Takes an entry back, once: posts its sides turned. The answer is when."""

    id: str
    original: str
    transfer: str = ""
    description: str = ""
    counterparty: str = ""

    def needs(self) -> Needs:
        return Needs(entry=self.id, original=self.original)

    def accounts(self, books: Books) -> Iterable[str]:
        original = books.originals.get(self.original)
        return [posting.account for posting in original.postings] if original else []

    def carry_out(self, books: Books) -> int:
        original = books.originals.get(self.original)
        if original is None:
            raise NotFound("ENTRY_NOT_FOUND", "There is no such entry.")
        if original.reverses:
            raise FailedPrecondition("ENTRY_IS_REVERSAL", "A reversal is not reversed.")
        entry = Entry(
            id=self.id,
            postings=[posting.turned() for posting in original.postings],
            transfer=self.transfer,
            description=self.description,
            counterparty=self.counterparty,
            reverses=original.id,
        )
        return books.post(entry)


@dataclass(frozen=True)
class Place(Order[None]):
    """Sets funds aside."""

    hold: Hold

    def needs(self) -> Needs:
        return Needs(hold=self.hold.id)

    def accounts(self, books: Books) -> Iterable[str]:
        return [self.hold.account]

    def carry_out(self, books: Books) -> None:
        if known := books.holds.get(self.hold.id):
            self.hold.must_repeat(known, books.now_us)
        else:
            self.hold.must_stand(books.now_us)
            books.set_aside(self.hold)


@dataclass(frozen=True, kw_only=True)
class Capture(Order[int]):
    """Moves held funds: all to the payee, or some as the postings say; the rest is given back.

    The entry has the hold's id. The answer is when it was posted.
    """

    hold_id: str
    payee: str = ""
    postings: Sequence[Posting] = ()
    description: str = ""
    counterparty: str = ""

    def needs(self) -> Needs:
        return Needs(hold=self.hold_id, entry=self.hold_id)

    def accounts(self, books: Books) -> Iterable[str]:
        hold = books.holds.get(self.hold_id)
        return [
            hold.account if hold else "",
            self.payee,
            *(posting.account for posting in self.postings),
        ]

    def carry_out(self, books: Books) -> int:
        hold = books.hold(self.hold_id)
        hold.must_stand(books.now_us)
        entry = self.entry(hold)
        is_open = hold.status is HoldStatus.OPEN
        posted_at_us = books.post(entry, hold)
        rest = hold.amount.minor_units + entry.postings[0].amount.minor_units
        if is_open and rest:
            back = Money(rest, hold.amount.currency)
            books.facts.append(GivenBack(hold, back, End.REMAINDER))
        return posted_at_us

    def entry(self, hold: Hold) -> Entry:
        credits = self.postings or (Posting(self.payee, hold.amount),)
        if any(posting.account == hold.account for posting in credits):
            raise InvalidArgument("SAME_ACCOUNT", "Held funds go to another account.")
        if any(posting.amount.minor_units <= 0 for posting in credits):
            raise InvalidArgument("AMOUNT_OUT_OF_RANGE", "Held funds are only given.")
        moved = sum(posting.amount.minor_units for posting in credits)
        if moved > hold.amount.minor_units:
            raise FailedPrecondition("HOLD_EXCEEDED", "More is to be moved than is held.")
        return Entry(
            id=hold.id,
            postings=(Posting(hold.account, Money(-moved, hold.amount.currency)), *credits),
            transfer=hold.id,
            description=self.description,
            counterparty=self.counterparty,
        )


@dataclass(frozen=True, kw_only=True)
class Release(Order[None]):
    """Gives held funds back, and closes the hold's id for ever, known or not."""

    hold_id: str
    why: End = End.RELEASED

    def needs(self) -> Needs:
        return Needs(hold=self.hold_id)

    def accounts(self, books: Books) -> Iterable[str]:
        hold = books.holds.get(self.hold_id)
        return [hold.account] if hold else []

    def carry_out(self, books: Books) -> None:
        hold = books.holds.get(self.hold_id)
        if hold is None:
            status = HoldStatus.RELEASED
            books.remember(Hold(id=self.hold_id, account="", amount=Money(0, ""), status=status))
        elif hold.status is HoldStatus.OPEN:
            if self.why is End.EXPIRED and not hold.is_over(books.now_us):
                return
            books.end(hold, HoldStatus.RELEASED)
            books.facts.append(GivenBack(hold, hold.amount, self.why))
        elif hold.status is HoldStatus.POSTED and self.why is not End.EXPIRED:
            raise FailedPrecondition("HOLD_POSTED", "The held funds were moved.")


@dataclass(frozen=True)
class Close(Order[Account]):
    """Closes an account that is empty."""

    account_id: str

    def needs(self) -> Needs:
        return Needs()

    def accounts(self, books: Books) -> Iterable[str]:
        return [self.account_id]

    def carry_out(self, books: Books) -> Account:
        account = books.account(self.account_id)
        if account.is_open:
            account.close()
            books.changed[account.id] = account
            books.facts.append(Closed(account.id))
        return replace(account)


@dataclass(frozen=True, kw_only=True)
class Block(Order[Account]):
    """Blocks what goes out of an account, what comes in, or both; or neither, which ends it."""

    account_id: str
    debits: bool = False
    credits: bool = False
    reason: str = ""

    def needs(self) -> Needs:
        return Needs()

    def accounts(self, books: Books) -> Iterable[str]:
        return [self.account_id]

    def carry_out(self, books: Books) -> Account:
        account = books.account(self.account_id)
        if not account.is_open:
            raise refusal("ACCOUNT_CLOSED")
        kept = self.reason if self.debits or self.credits else ""
        if account.block(self.debits, self.credits, kept):
            books.changed[account.id] = account
            books.facts.append(Blocked(account.id, self.debits, self.credits, self.reason))
        return replace(account)


@dataclass(frozen=True, kw_only=True)
class Limit(Order[Account]):
    """Sets how far an account may be overdrawn, and how much it may take."""

    account_id: str
    overdraft: int
    ceiling: int

    def needs(self) -> Needs:
        return Needs()

    def accounts(self, books: Books) -> Iterable[str]:
        return [self.account_id]

    def carry_out(self, books: Books) -> Account:
        account = books.account(self.account_id)
        account.limit(-self.overdraft, self.ceiling)
        books.changed[account.id] = account
        return replace(account)
