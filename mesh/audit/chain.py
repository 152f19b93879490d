"""Digests and seals of records, and where a chain of them is broken."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Final

from mesh.db import Row

__all__ = ["CONTENT", "GENESIS", "Flaw", "Head", "Walk", "digest_of", "seal_of"]

CONTENT: Final = (
    "at_us",
    "actor_id",
    "session_id",
    "workload",
    "method",
    "subject_id",
    "company_id",
    "outcome",
    "reason",
    "trace_id",
)
"""The columns that a digest covers, in its order."""

GENESIS: Final = bytes(32)
"""The seal before the first."""


@dataclass(frozen=True, slots=True)
class Head:
    """A place in the chain: the number and the seal of a record."""

    number: int = 0
    seal: bytes = GENESIS


@dataclass(frozen=True, slots=True)
class Flaw:
    """A record that is not as it was written: its number, and its row's id, 0 where it has none."""

    number: int
    row_id: int
    sentence: str


def digest_of(content: Iterable[object]) -> bytes:
    """SHA-256 over the content as a JSON array, in the order of `CONTENT`."""
    return sha256(json.dumps(list(content), separators=(",", ":")).encode()).digest()


def seal_of(number: int, row_id: int, previous: bytes, digest: bytes) -> bytes:
    """SHA-256 over the number and the row's id (8 bytes each), the seal before, and the digest."""
    place = number.to_bytes(8, "big") + row_id.to_bytes(8, "big")
    return sha256(place + previous + digest).digest()


@dataclass(slots=True)
class Walk:
    """Goes along the chain from a head on, whose row is `row_id`. `pinned` is a head to be met."""

    head: Head = field(default_factory=Head)
    pinned: Head = field(default_factory=Head)
    row_id: int = 0
    looked_at: int = 0

    def over(self, rows: Iterable[Row]) -> Iterator[Flaw]:
        """Looks at sealed rows, in the order of their numbers."""
        for row in rows:
            yield from self._at(row)
            self.head = Head(row["number"], row["seal"])
            self.row_id = row["id"]
            self.looked_at += 1
            if self.head.number == self.pinned.number and self.head.seal != self.pinned.seal:
                yield Flaw(row["number"], row["id"], "it is not the one that was there before")

    def end(self) -> Iterator[Flaw]:
        """Looks at what should be there, and is not, after the last row."""
        if self.head.number < self.pinned.number:
            first, last = self.head.number + 1, self.pinned.number
            yield Flaw(first, 0, f"the end was cut off: {last - first + 1} records are gone")

    def _at(self, row: Row) -> Iterator[Flaw]:
        number, row_id, before = row["number"], row["id"], self.head
        gone = number - before.number - 1
        if gone:
            yield Flaw(before.number + 1, 0, f"removed: {gone} missing before number {number}")
        if digest_of(row[name] for name in CONTENT) != row["digest"]:
            yield Flaw(number, row_id, "changed: its content is not what was sealed")
        elif seal_of(number, row_id, row["previous"], row["digest"]) != row["seal"]:
            yield Flaw(number, row_id, "moved or replaced: its seal is of another place or content")
        elif row["previous"] != before.seal and not gone:
            # This one is as it was, so it is the one before that is another.
            yield Flaw(before.number, self.row_id, "changed: with its seal, which was another")
