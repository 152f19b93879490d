"""Plays the rail and every other bank. What it has taken it remembers, as the real one does.

How it treats a payment, the payee's key says, or else the behaviour that was set:

    reject-CODE@            rejects it with a reason code
    timeout-settled@        settles it, and the answer is lost
    timeout-rejected-CODE@  rejects it, and the answer is lost
    lost@                   never gets it the first time
    duplicate@              settles it, and says that it was sent before
    delay-MS@               settles it after so many milliseconds
    return-CODE@            settles it, and the other bank gives it back (return-CODE-100@: 1.00)
    unknown-ANYTHING@       nobody has the key

each followed by `sandbox.example`. A letter is a letter, small or not.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from hashlib import sha256
from typing import Any

from mesh.clock import now_us, to_us
from mesh.db import Row, UnitOfWork, sql
from mesh.errors import Refused
from mesh.saga import Journal

from .domain.rail import REPEATED, Answer, Holder, Kind, Order, Outcome, Settlement

# Stored.
PLAY_RETURN = "play_return"

SCRIPT = re.compile(
    r"(?P<act>reject|timeout-settled|timeout-rejected|lost|duplicate|delay|return|unknown)"
    r"(?:-(?P<word>[a-z0-9_]{1,35}))?(?:-(?P<number>[0-9]{1,15}))?@sandbox\.example"
)

# About what the real rail takes between two banks that answer at once.
DELIVERY_MS = 50
# A lost answer can be asked for after this time.
LOST_MS = 150
# Who sends waits no longer for the answer.
PATIENCE_MS = 1_000
# What is left of a payment before the other bank gives it back.
SECOND_THOUGHTS_MS = 100

FIRST_NAMES = ("Ana", "Bruno", "Carla", "Diego", "Elisa", "Fabio", "Gilda", "Hugo")
LAST_NAMES = ("Almeida", "Barros", "Castro", "Duarte", "Esteves", "Ferreira", "Gomes", "Horta")

TAKE = sql(
    "INSERT INTO rail_messages (end_to_end_id, kind, original, minor_units, outcome, code,"
    " decided_at_us, play) VALUES (:id, :kind, :original, :minor_units, :outcome, :code,"
    " :decided_at, :play) ON CONFLICT (end_to_end_id) DO NOTHING"
)
MESSAGE = sql("SELECT * FROM rail_messages WHERE end_to_end_id = :id")
DECIDE = sql(
    "UPDATE rail_messages SET outcome = :outcome, code = :code, decided_at_us = :now"
    " WHERE end_to_end_id = :id AND outcome = 'unknown'"
)
SETTLED_ON = sql(
    "SELECT * FROM rail_messages WHERE outcome = 'settled' AND decided_at_us >= :since"
    " AND decided_at_us < :until ORDER BY decided_at_us, end_to_end_id"
)
NOTE_LOST = sql("INSERT INTO rail_lost (end_to_end_id) VALUES (:id) ON CONFLICT DO NOTHING")
BEHAVIOUR = sql("SELECT * FROM rail_behaviour WHERE id = 1")
BEHAVE = sql(
    "INSERT INTO rail_behaviour (id, rejected, lost_settled, lost_rejected, lost_message,"
    " rejection_code, delay_ms) VALUES (1, :rejected, :lost_settled, :lost_rejected,"
    " :lost_message, :rejection_code, :delay_ms) ON CONFLICT (id) DO UPDATE SET"
    " rejected = excluded.rejected, lost_settled = excluded.lost_settled,"
    " lost_rejected = excluded.lost_rejected, lost_message = excluded.lost_message,"
    " rejection_code = excluded.rejection_code, delay_ms = excluded.delay_ms"
)
ENTRY = sql("SELECT document, name FROM rail_entries WHERE pix_key = :key")
ENTER = sql(
    "INSERT INTO rail_entries (pix_key, document, name) VALUES (:key, :document, :name)"
    " ON CONFLICT (pix_key) DO UPDATE SET document = excluded.document, name = excluded.name"
)
LEAVE = sql("DELETE FROM rail_entries WHERE pix_key = :key")


@dataclass(frozen=True, kw_only=True, slots=True)
class Behaviour:
    """How payments are treated whose key does not say it; shares in thousandths."""

    rejected: int = 0
    lost_settled: int = 0
    lost_rejected: int = 0
    lost_message: int = 0
    rejection_code: str = "AB03"
    delay_ms: int = DELIVERY_MS


@dataclass(frozen=True, kw_only=True, slots=True)
class Play:
    """How one message is treated."""

    outcome: Outcome = Outcome.SETTLED
    code: str = ""
    delay_ms: int = DELIVERY_MS
    is_lost: bool = False
    is_doubled: bool = False
    never_arrives: bool = False
    return_code: str = ""
    return_minor_units: int = 0

    @classmethod
    def of(cls, order: Order, behaviour: Behaviour) -> Play:
        """Finds how a message is treated: as its key says, or as chance and the behaviour do."""
        script = SCRIPT.fullmatch(order.key)
        if script is None:
            return cls.by_chance(order.end_to_end_id, behaviour)
        word, number = (script["word"] or "").upper(), int(script["number"] or 0)
        match script["act"]:
            case "reject":
                return cls(outcome=Outcome.REJECTED, code=word or "AB03")
            case "timeout-rejected":
                return cls(outcome=Outcome.REJECTED, code=word or "AB03", is_lost=True)
            case "timeout-settled":
                return cls(is_lost=True)
            case "duplicate":
                return cls(is_doubled=True)
            case "lost":
                return cls(never_arrives=True)
            case "delay":
                return cls(delay_ms=int(word) if word.isdecimal() else DELIVERY_MS)
            case "return":
                return cls(return_code=word or "MD06", return_minor_units=number)
            case _:
                return cls(outcome=Outcome.REJECTED, code="AC03")

    @classmethod
    def by_chance(cls, end_to_end_id: str, behaviour: Behaviour) -> Play:
        """Draws by the message's id, so that the same message is always treated alike."""
        drawn = int.from_bytes(sha256(end_to_end_id.encode()).digest()) % 1_000
        code, delay_ms = behaviour.rejection_code, behaviour.delay_ms
        plays = (
            (behaviour.rejected, cls(outcome=Outcome.REJECTED, code=code)),
            (behaviour.lost_settled, cls(is_lost=True)),
            (behaviour.lost_rejected, cls(outcome=Outcome.REJECTED, code=code, is_lost=True)),
            (behaviour.lost_message, cls(never_arrives=True)),
        )
        for share, play in plays:
            if drawn < share:
                return replace(play, delay_ms=delay_ms)
            drawn -= share
        return cls(delay_ms=delay_ms)

    @property
    def decided_after_ms(self) -> int:
        return self.delay_ms + (LOST_MS if self.is_lost else 0)


@dataclass(frozen=True, kw_only=True, slots=True)
class PlayedReturn:
    """What another bank gives back of a payment. `minor_units` of zero is all of it."""

    end_to_end_id: str
    code: str
    minor_units: int


async def play_return(
    played: PlayedReturn, journal: Journal, give: Callable[[PlayedReturn], Awaitable[None]]
) -> PlayedReturn:
    """Lets another bank give a payment back. What cannot be given back is not."""
    with contextlib.suppress(Refused):
        await journal.step("return", give, played)
    return played


Transact = Callable[..., Awaitable[Any]]


class Sandbox:
    """A `Rail` that keeps its books in the service's database, beside and apart from ours."""

    def __init__(self, transact: Transact, read: Transact) -> None:
        self.transact = transact
        self.read = read

    async def send(self, order: Order) -> Answer:
        play = await self.transact(take, order, now_us())
        if play is None or play.is_doubled:
            return Answer(Outcome.REJECTED, REPEATED)
        await asyncio.sleep(min(play.delay_ms, PATIENCE_MS) * 0.001)
        if play.never_arrives or play.is_lost or play.delay_ms > PATIENCE_MS:
            return Answer(Outcome.UNKNOWN)
        return Answer(play.outcome, play.code)

    async def query(self, end_to_end_id: str) -> Answer | None:
        row: Row | None = await self.read(find_message, end_to_end_id)
        if row is None:
            return None
        if row["decided_at_us"] > now_us():
            return Answer(Outcome.UNKNOWN)
        return Answer(Outcome(row["outcome"]), row["code"])

    async def answer(self, end_to_end_id: str, answer: Answer) -> None:
        await self.transact(decide, end_to_end_id, answer, now_us())

    async def settled_on(self, day: date) -> list[Settlement]:
        since = to_us(datetime(day.year, day.month, day.day, tzinfo=UTC))
        until = since + timedelta(days=1) // timedelta(microseconds=1)
        lines: list[Settlement] = await self.read(settled_between, since, min(until, now_us() + 1))
        return lines

    async def find(self, key: str) -> Holder | None:
        """Looks a key up. Everybody has one, but who is said to have none."""
        script = SCRIPT.fullmatch(key)
        if script is not None and script["act"] == "unknown":
            return None
        return await self.taken(key) or a_stranger(key)

    async def taken(self, key: str) -> Holder | None:
        holder: Holder | None = await self.read(find_holder, key)
        return holder

    async def register(self, key: str, holder: Holder) -> None:
        """Registers a key at another bank."""
        await self.transact(enter, key, holder)

    async def behave(self, behaviour: Behaviour) -> None:
        await self.transact(set_behaviour, behaviour)

    async def behaviour(self) -> Behaviour:
        known: Behaviour = await self.read(get_behaviour)
        return known


async def take(work: UnitOfWork, order: Order, now: int) -> Play | None:
    """Takes a message; None if it was taken before."""
    play = Play.of(order, await get_behaviour(work))
    if play.never_arrives and await work.execute(NOTE_LOST, id=order.end_to_end_id):
        return play
    if play.never_arrives:
        play = Play()
    taken = await work.execute(
        TAKE,
        id=order.end_to_end_id,
        kind=order.kind,
        original=order.original,
        minor_units=-order.minor_units,
        outcome=play.outcome,
        code=play.code,
        decided_at=now + play.decided_after_ms * 1_000,
        play=f"{play.return_code}-{play.return_minor_units}" if play.return_code else "",
    )
    if not taken:
        return None
    if play.return_code:
        due = now + (play.decided_after_ms + SECOND_THOUGHTS_MS) * 1_000
        work.start(PLAY_RETURN, order.end_to_end_id, at_us=due)
    return play


async def arrive(
    work: UnitOfWork, kind: Kind, end_to_end_id: str, original: str, minor_units: int, now: int
) -> None:
    """Puts a message on the rail that another bank sends us, and that we have yet to answer."""
    await work.execute(
        TAKE,
        id=end_to_end_id,
        kind=kind,
        original=original,
        minor_units=minor_units,
        outcome=Outcome.UNKNOWN,
        code="",
        decided_at=now,
        play="",
    )


async def find_message(work: UnitOfWork, end_to_end_id: str) -> Row | None:
    return await work.fetch_one(MESSAGE, id=end_to_end_id)


async def decide(work: UnitOfWork, end_to_end_id: str, answer: Answer, now: int) -> None:
    await work.execute(DECIDE, id=end_to_end_id, outcome=answer.outcome, code=answer.code, now=now)


async def settled_between(work: UnitOfWork, since: int, until: int) -> list[Settlement]:
    rows = await work.fetch_all(SETTLED_ON, since=since, until=until)
    return [
        Settlement(
            kind=Kind(row["kind"]),
            end_to_end_id=row["end_to_end_id"],
            original=row["original"],
            minor_units=row["minor_units"],
            settled_at_us=row["decided_at_us"],
        )
        for row in rows
    ]


async def get_played_return(work: UnitOfWork, end_to_end_id: str) -> PlayedReturn:
    row = await work.fetch_one(MESSAGE, id=end_to_end_id)
    assert row is not None, "a message that is taken is never removed"
    code, _, minor_units = row["play"].partition("-")
    return PlayedReturn(end_to_end_id=end_to_end_id, code=code, minor_units=int(minor_units))


async def end_played_return(work: UnitOfWork, played: PlayedReturn) -> PlayedReturn:
    return played


async def find_holder(work: UnitOfWork, key: str) -> Holder | None:
    row = await work.fetch_one(ENTRY, key=key)
    return Holder(document=row["document"], name=row["name"]) if row else None


async def enter(work: UnitOfWork, key: str, holder: Holder) -> None:
    await work.execute(ENTER, key=key, document=holder.document, name=holder.name)


async def leave(work: UnitOfWork, key: str) -> None:
    await work.execute(LEAVE, key=key)


async def get_behaviour(work: UnitOfWork) -> Behaviour:
    row = await work.fetch_one(BEHAVIOUR)
    if row is None:
        return Behaviour()
    return Behaviour(
        rejected=row["rejected"],
        lost_settled=row["lost_settled"],
        lost_rejected=row["lost_rejected"],
        lost_message=row["lost_message"],
        rejection_code=row["rejection_code"],
        delay_ms=row["delay_ms"],
    )


async def set_behaviour(work: UnitOfWork, behaviour: Behaviour) -> None:
    await work.execute(
        BEHAVE,
        rejected=behaviour.rejected,
        lost_settled=behaviour.lost_settled,
        lost_rejected=behaviour.lost_rejected,
        lost_message=behaviour.lost_message,
        rejection_code=behaviour.rejection_code,
        delay_ms=behaviour.delay_ms,
    )


def a_stranger(key: str) -> Holder:
    """Invents who has a key at another bank: always the same for one key."""
    number = int.from_bytes(sha256(key.encode()).digest())
    first = FIRST_NAMES[number % len(FIRST_NAMES)]
    last = LAST_NAMES[number // 8 % len(LAST_NAMES)]
    return Holder(document=f"{number // 64 % 10**11:011d}", name=f"{first} {last}")
