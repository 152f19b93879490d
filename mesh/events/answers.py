"""What a handler of many events answers: which of them come again, and which never will."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from . import Again, Dead, Event

__all__ = ["BadAnswer", "Outcome", "check"]


class BadAnswer(Exception):
    """A handler has answered for an event that it was not given, or out of the order of a key."""


@dataclass(slots=True)
class Outcome:
    """What has become of a batch: the events that come again, by id, and how many were parked."""

    again: dict[str, Again] = field(default_factory=dict)
    parked: int = 0


def check(answers: Mapping[str, Again | Dead], events: Sequence[Event[Any]]) -> None:
    """Raises `BadAnswer` unless the answers are for these events, and keep the order of each key.

    After the first event of a key that is not done, a later one may be tried again, and nothing
    else: one that was done, or parked, before an earlier one would be out of order.
    """
    if not answers.keys() <= {event.id for event in events}:
        raise BadAnswer
    waiting: set[str] = set()
    for event in events:
        answer = answers.get(event.id)
        if event.key in waiting and not isinstance(answer, Again):
            raise BadAnswer
        if answer is not None:
            waiting.add(event.key)
