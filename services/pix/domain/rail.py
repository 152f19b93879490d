"""The port of the rail: what the bank asks of it, and what it answers. No gRPC, no NATS, no SQL.

A real provider's client would fill `Rail`; the sandbox does. Messages are those of the central
bank's catalogue: a payment is pacs.008, a return pacs.004, an answer pacs.002. The one thing that
must never be guessed is what became of a message whose answer is lost: the rail is asked.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from hashlib import sha256
from typing import Protocol

from mesh.clock import from_us
from mesh.errors import FailedPrecondition, Refused, Transient
from mesh.saga import Journal

# The participants' numbers (ISPB): ours, and that of everybody else in the sandbox.
OUR_ISPB = "90400888"
OUTSIDE_ISPB = "00000208"

BASE62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
RAIL_ID = re.compile(r"[ED][0-9A-Za-z]{8}[0-9]{12}[0-9A-Za-z]{11}")

# Stored: the answer of a step that found none.
OUTCOME_UNKNOWN = "OUTCOME_UNKNOWN"
# The code with which the rail turns away what it has taken before.
REPEATED = "DUPL"

# The reason codes of pacs.002 and pacs.004 that a customer may meet, in the catalogue's sense.
REASONS = {
    "AB03": "The settlement took too long.",
    "AB09": "The payee's bank failed.",
    "AB11": "The payer's bank took too long.",
    "AC03": "The payee's account does not exist.",
    "AC06": "The payee's account is blocked.",
    "AC07": "The payee's account is closed.",
    "AC14": "The payee's account is of a wrong type.",
    "AG03": "This kind of payment is not supported.",
    "AG12": "Payments between accounts of one bank do not go by the rail.",
    "AG13": "The payee's bank is of a kind that is not paid so.",
    "AGNT": "One of the banks does not take part directly.",
    "AM01": "The amount is zero.",
    "AM02": "The amount is more than the payee's account may receive.",
    "AM04": "The payer's bank lacks funds.",
    "AM09": "More is given back than was paid.",
    "AM12": "The amounts of the parts do not add up.",
    "AM18": "There are too many payments in the message.",
    "BE01": "The payee's document is not that of the account.",
    "BE05": "The payer is not known to the sender.",
    "BE15": "The payee's code is of a wrong form.",
    "BE17": "The payee's bank does not take the code.",
    "CH11": "The payer's document is wrong.",
    "CH16": "The message is of a wrong form.",
    "DS04": "The payee's bank refused the payment.",
    "DS0G": "Who signed may not do this.",
    "DS24": "The payment waited too long at the rail.",
    "DS27": "The bank is not on the rail yet.",
    "DT02": "The date of the message is wrong.",
    "DT05": "It is too late to give the payment back.",
    "DUPL": "The payment was sent before.",
    "ED05": "The settlement failed.",
    "FF07": "The purpose of the message is wrong.",
    "FF08": "The id of the message is of a wrong form.",
    "MD01": "There is no mandate.",
    "RC09": "The payer's bank does not exist.",
    "RC10": "The payee's bank does not exist.",
    "RR04": "The law asks for more.",
    "SL02": "The bank of the service refused it.",
}


class Kind(StrEnum):
    """What a message moves. The values are stored."""

    PAYMENT = "payment"
    RETURN = "return"


class Outcome(StrEnum):
    """What became of a message. The values are stored."""

    SETTLED = "settled"
    REJECTED = "rejected"
    UNKNOWN = "unknown"


@dataclass(frozen=True, kw_only=True, slots=True)
class Order:
    """A message to the rail. `original` names the payment that a return gives back."""

    kind: Kind
    end_to_end_id: str
    minor_units: int
    key: str = ""
    original: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Answer:
    """What the rail says of a message. `code` is the reason of a rejection."""

    outcome: Outcome
    code: str = ""

    def must_be_final(self) -> None:
        """Raises `Refused` with the rail's code, or `Refused` because the outcome is not known."""
        if self.outcome is Outcome.REJECTED:
            raise rejected(self.code)
        if self.outcome is Outcome.UNKNOWN:
            raise FailedPrecondition(OUTCOME_UNKNOWN, "The rail has not said what became of it.")

    @property
    def is_of_a_repeat(self) -> bool:
        """Whether it is said of the message as a second one, and so says nothing of the first."""
        return self.code == REPEATED


@dataclass(frozen=True, kw_only=True, slots=True)
class Settlement:
    """A line of the rail's settlement file. What leaves us is negative."""

    kind: Kind
    end_to_end_id: str
    original: str
    minor_units: int
    settled_at_us: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Holder:
    """Who has a key at another bank."""

    document: str
    name: str


class Rail(Protocol):
    """The instant-payment rail, as one bank meets it. Each method may raise `Transient`."""

    async def send(self, order: Order) -> Answer:
        """Hands a message over. The rail takes an id once: sent again, it is not taken again."""

    async def query(self, end_to_end_id: str) -> Answer | None:
        """Asks what became of a message; None if the rail has never had it."""

    async def answer(self, end_to_end_id: str, answer: Answer) -> None:
        """Accepts or rejects a message that came in. Saying it twice is saying it once."""

    async def settled_on(self, day: date) -> list[Settlement]:
        """Gets the settlement file of a day (UTC)."""

    async def find(self, key: str) -> Holder | None:
        """Looks a key up that is registered at another bank, as one does before one pays."""

    async def taken(self, key: str) -> Holder | None:
        """Tells who keeps a key from being registered here; None if nobody does."""


class Messages:
    """The steps of a saga that sends a message, each of which may be taken again."""

    def __init__(self, rail: Rail) -> None:
        self.rail = rail

    async def deliver(self, order: Order) -> None:
        answer = await self.rail.send(order)
        (Answer(Outcome.UNKNOWN) if answer.is_of_a_repeat else answer).must_be_final()

    async def ask(self, order: Order) -> None:
        """Asks until there is an answer. What has never arrived is sent, under the same id."""
        answer = await self.rail.query(order.end_to_end_id)
        if answer is None:
            answer = await self.rail.send(order)
        if answer.is_of_a_repeat or answer.outcome is Outcome.UNKNOWN:
            raise Transient("PAYMENT_PENDING", "The rail has not answered yet.")
        answer.must_be_final()

    async def accept(self, end_to_end_id: str) -> None:
        await self.rail.answer(end_to_end_id, Answer(Outcome.SETTLED))

    async def reject(self, end_to_end_id: str) -> None:
        await self.rail.answer(end_to_end_id, Answer(Outcome.REJECTED, "AC07"))

    async def hand_over(self, order: Order, journal: Journal) -> None:
        """Sends a message, and finds out what became of it. Raises `Refused` if it is rejected."""
        try:
            await journal.step("deliver", self.deliver, order)
        except Refused as refusal:
            if refusal.reason != OUTCOME_UNKNOWN:
                raise
            await journal.step("ask", self.ask, order)


def rejected(code: str) -> FailedPrecondition:
    return FailedPrecondition(code, REASONS.get(code, "The payee's bank refused the payment."))


def end_to_end_id(ispb: str, created_at_us: int, payment_id: str) -> str:
    """Names a payment on the rail: `E`, the sender's ISPB, the minute in UTC, eleven characters."""
    return rail_id("E", ispb, created_at_us, payment_id)


def return_id(ispb: str, created_at_us: int, name: str) -> str:
    """Names a return on the rail: as a payment, with a `D` before it."""
    return rail_id("D", ispb, created_at_us, name)


def rail_id(letter: str, ispb: str, created_at_us: int, name: str) -> str:
    number = int.from_bytes(sha256(name.encode()).digest())
    tail = "".join(BASE62[number // 62**place % 62] for place in range(11))
    return f"{letter}{ispb}{from_us(created_at_us):%Y%m%d%H%M}{tail}"


def settlement_file(lines: Iterable[Settlement]) -> str:
    """Writes a settlement file (CSV, RFC 4180)."""
    head = "kind,end_to_end_id,original_end_to_end_id,minor_units,settled_at"
    rows = (
        f"{line.kind},{line.end_to_end_id},{line.original},{line.minor_units},"
        f"{from_us(line.settled_at_us).isoformat(timespec='microseconds')}"
        for line in lines
    )
    return "".join(f"{row}\r\n" for row in (head, *rows))
