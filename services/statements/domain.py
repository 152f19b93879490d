"""How a statement is read: page by page, by those who may, and not too early."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from itertools import pairwise
from zoneinfo import ZoneInfo

from mesh.errors import FailedPrecondition, InvalidArgument, NotFound
from services.money import Money

PAGE_SIZE = 50
# How many lines of a file are read at once, and how many one may have: paper ends sooner.
PIECE = 500
MOST_LINES = 100_000
MOST_LINES_ON_PAPER = 10_000

BRAZIL = ZoneInfo("America/Sao_Paulo")

# The largest number that databases keep: later than any time, after any version.
END = 2**63 - 1

# How long an answer waits for a version (seconds), and how often it looks for one that another
# process has kept.
LONGEST_WAIT_S = 0.5
LOOK_AGAIN_S = 0.1
# How often a listener is looked after who hears of nothing: another process may have kept lines.
LISTEN_AGAIN_S = 1.0

# The seal before the first line of an account.
UNSEALED = bytes(32)

_MAC_BYTES = 16
_VERSION_BYTES = 8


@dataclass(frozen=True, kw_only=True)
class Line:
    """A line of a statement: the posting, word for word, with the balance it left behind.

    `version` numbers the lines of an account, from 1, without a gap.
    """

    account_id: str
    version: int
    entry_id: str
    transfer_id: str
    amount: Money
    balance_after: Money
    counterparty: str = field(repr=False)
    description: str = field(repr=False)
    occurred_at_us: int
    # What seals it in the ledger, and all lines before it. Older lines have none.
    seal: bytes = field(default=b"", repr=False)

    def sealed(self, previous: bytes) -> bytes:
        """Seals the line as the ledger does (`EntryPosted.seal`)."""
        fixed = (
            self.account_id,
            str(self.version),
            self.entry_id,
            self.transfer_id,
            str(self.amount.minor_units),
            self.amount.currency,
            str(self.balance_after.minor_units),
            str(self.occurred_at_us),
            str(len(self.counterparty)),
        )
        said = "\n".join((*fixed, self.counterparty + self.description))
        return hashlib.sha256(previous + said.encode()).digest()


@dataclass(frozen=True, kw_only=True)
class Query:
    """What is asked of a statement: lines before a version, and within some time (microseconds)."""

    user_id: str
    account_id: str
    from_us: int = 0
    to_us: int = END
    size: int = PAGE_SIZE
    before: int = END
    search: str = field(default="", repr=False)
    # 1 for what came in, -1 for what went out, 0 for both.
    direction: int = 0

    def scope(self) -> bytes:
        """Says what a page token is good for: the same question of the same user."""
        asked = f"{self.user_id} {self.account_id} {self.from_us} {self.to_us}"
        return f"{asked} {self.direction} {self.search}".encode()


@dataclass(frozen=True, kw_only=True)
class Period:
    """What a statement for a time begins with: whose it is, from when, with what balance."""

    account_id: str
    company_id: str
    from_us: int
    to_us: int
    opening: Money
    # The last version that belongs to it, so that lines that arrive meanwhile do not.
    until_version: int


@dataclass(frozen=True, kw_only=True)
class Month:
    """A month of an account. `received` and `spent` are not negative."""

    month: str
    opening: Money
    received: Money
    spent: Money
    entries: int
    closed: bool

    @property
    def closing(self) -> Money:
        units = self.opening.minor_units + self.received.minor_units - self.spent.minor_units
        return Money(units, self.opening.currency)


@dataclass(frozen=True)
class Page:
    """Lines, the newest first, and the version that the account's statement has reached."""

    lines: Sequence[Line]
    has_more: bool
    as_of_version: int


class PageTokens:
    """Writes where the next page begins so that nobody else can write it.

    A page begins before a version, and lines are only added after all others: a page stays what it
    is while lines arrive.
    """

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    def next(self, query: Query, page: Page) -> str:
        """Writes the token of the page after this one; empty if there is none."""
        if not page.has_more:
            return ""
        before = page.lines[-1].version.to_bytes(_VERSION_BYTES)
        return urlsafe_b64encode(before + self._mac(query, before)).decode()

    def read(self, query: Query, token: str) -> int:
        """Reads the version before which a page begins.

        Raises `InvalidArgument` for a token that was not written for this question.
        """
        if not token:
            return END
        try:
            written = urlsafe_b64decode(token.encode())
        except ValueError:
            raise invalid_page_token() from None
        before, mac = written[:_VERSION_BYTES], written[_VERSION_BYTES:]
        if not hmac.compare_digest(mac, self._mac(query, before)):
            raise invalid_page_token()
        return int.from_bytes(before)

    def _mac(self, query: Query, before: bytes) -> bytes:
        said = before + query.scope()
        return hmac.digest(self._secret, said, hashlib.sha256)[:_MAC_BYTES]


class Arrivals:
    """Wakes those who wait for news of an account. For the event loop only."""

    def __init__(self) -> None:
        self.watched: dict[str, set[asyncio.Event]] = {}

    @contextmanager
    def watch(self, *account_ids: str) -> Iterator[asyncio.Event]:
        """Gives an event that is set when there is news of any of the accounts."""
        event = asyncio.Event()
        for account_id in account_ids:
            self.watched.setdefault(account_id, set()).add(event)
        try:
            yield event
        finally:
            for account_id in account_ids:
                self.watched[account_id].discard(event)
                if not self.watched[account_id]:
                    del self.watched[account_id]

    def tell(self, account_id: str) -> None:
        for event in self.watched.get(account_id, ()):
            event.set()


def months_of(year: int, now_us: int) -> list[tuple[str, int, int]]:
    """Lists the months of a year that have begun: their names, and from when to when each is.

    Times are microseconds since 1970; a year of 0 is the one of now.
    """
    now = datetime.fromtimestamp(now_us // 1_000_000, BRAZIL)
    year = year or now.year
    begun = 12 if year < now.year else now.month if year == now.year else 0
    bounds = [
        datetime(year + month // 12, month % 12 + 1, 1, tzinfo=BRAZIL) for month in range(begun + 1)
    ]
    return [
        (f"{start:%Y-%m}", microseconds(start), microseconds(end))
        for start, end in pairwise(bounds)
    ]


def microseconds(moment: datetime) -> int:
    return int(moment.timestamp()) * 1_000_000


class Cursor:
    """How far somebody has heard the lines of each account."""

    def __init__(self, heard: Mapping[str, int]) -> None:
        self.heard = dict(heard)

    @classmethod
    def read(cls, written: str) -> Cursor:
        """Reads an event's id. What is none is taken for one of somebody who has heard nothing."""
        heard: dict[str, int] = {}
        for part in filter(None, written.split(",")):
            account, _, version = part.partition(":")
            if not version.isdecimal() or len(version) > 18:
                return cls({})
            heard[account] = int(version)
        return cls(heard)

    def __str__(self) -> str:
        return ",".join(f"{account}:{version}" for account, version in sorted(self.heard.items()))


def invalid_page_token() -> InvalidArgument:
    return InvalidArgument("INVALID_PAGE_TOKEN", "The page token was not made for this request.")


def too_long(most: int) -> FailedPrecondition:
    return FailedPrecondition(
        "STATEMENT_TOO_LONG",
        f"A file of this kind has {most} lines at the most: ask for less time.",
    )


def no_such_account() -> NotFound:
    return NotFound("ACCOUNT_NOT_FOUND", "There is no such account.")
