"""The summary of a day: what it sums up, when it is sent, and how it is written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from mesh.clock import from_us, to_us

from .messages import Kind, Language, Message
from .texts import BRAZIL, Facts, when, write

# A message is kept within this time of the moment that it bears.
MARGIN_US = 60_000_000

# What is beyond is in the list of messages.
MOST_TOLD = 200


@dataclass(frozen=True)
class Digest:
    """The summary that a user is sent at a moment."""

    user_id: str
    at_us: int

    @property
    def id(self) -> str:
        return f"{self.user_id}/{self.at_us}"


def digest_of(id: str) -> Digest:
    user_id, _, at_us = id.rpartition("/")
    return Digest(user_id, int(at_us))


def next_digest_us(now_us: int, hour: int) -> int:
    """Tells when the summary is sent that tells a message of now: at an hour of Brasília."""
    after = from_us(now_us + MARGIN_US).astimezone(BRAZIL)
    at = after.replace(hour=hour, minute=0, second=0, microsecond=0)
    return to_us(at if at > after else at + timedelta(days=1))


def summary(
    digest: Digest, language: Language, messages: Sequence[Message], now_us: int
) -> Message:
    """Writes the summary of messages, the oldest first. It names no event but itself."""
    subject, body = write(Kind.DIGEST, language, Facts(count=len(messages)))
    lines = [f"• {when(each.created_at_us, language)}: {each.body}" for each in messages]
    return Message(
        event_id=f"digest/{digest.at_us}",
        user_id=digest.user_id,
        kind=Kind.DIGEST,
        subject=subject,
        body="\n".join([body, "", *lines]),
        language=language,
        created_at_us=now_us,
        in_app=False,
    )
