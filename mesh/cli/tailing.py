"""Reads events from the end of their streams, in the order in which they were told."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from typing import Any, Final

from mesh.cli.events import is_bucket
from mesh.events.jetstream import Connection
from mesh.events.pull import Pull, place_of
from mesh.events.view import Decoded, decode
from mesh.ids import new_id
from mesh.supervisor.problem import USAGE, Problem

__all__ = ["tail"]

_BUFFER: Final = 1_000
_SECOND: Final = 1_000_000_000

Told = Callable[[str, int, Decoded], None]


async def tail(connection: Connection, subject: str, lines: int, follow: bool, told: Told) -> None:
    """Hands over the last events that fit a subject, then, with `follow`, those that come."""
    streams = [
        each
        for each in (await connection.api("STREAM.LIST", {}))["streams"] or []
        if any(_overlap(subject, own) for own in each["config"].get("subjects", ()))
        and not is_bucket(each)
    ]
    if not streams:
        raise Problem(
            f"no stream keeps {subject}", "nothing of it was told", "./bank events ls", USAGE
        )
    found: list[tuple[str, str, int, Decoded]] = []
    for stream in streams:
        found += await _last(connection, stream, subject, lines)
    found.sort(key=lambda each: each[0])
    for _, name, sequence, event in found[len(found) - min(lines, len(found)) :]:
        told(name, sequence, event)
    if follow:
        async with asyncio.TaskGroup() as tasks:
            for stream in streams:
                tasks.create_task(_follow(connection, stream, subject, told))


async def _last(
    connection: Connection, stream: dict[str, Any], subject: str, lines: int
) -> list[tuple[str, str, int, Decoded]]:
    """The last events of one stream that fit; read from further back until there are enough."""
    name, state = stream["config"]["name"], stream["state"]
    back = max(lines, 1)
    while lines and state["messages"]:
        first = max(state["first_seq"], state["last_seq"] - back + 1)
        consumer, pending = await _consumer(connection, name, subject, first)
        if pending >= lines or first == state["first_seq"]:
            return await _read(connection, name, consumer, pending)
        back *= 4
    return []


async def _read(
    connection: Connection, stream: str, consumer: str, count: int
) -> list[tuple[str, str, int, Decoded]]:
    found: list[tuple[str, str, int, Decoded]] = []
    async with Pull(connection, stream, consumer, buffer=_BUFFER) as pull:
        while len(found) < count:
            for message in await pull.take(_BUFFER):
                event = decode(message.headers or {}, message.data)
                found.append((event.time, stream, place_of(message).sequence, event))
    return found


async def _follow(connection: Connection, stream: dict[str, Any], subject: str, told: Told) -> None:
    name = stream["config"]["name"]
    consumer, _ = await _consumer(connection, name, subject, stream["state"]["last_seq"] + 1)
    async with Pull(connection, name, consumer, buffer=_BUFFER) as pull:
        while True:
            for message in await pull.take(_BUFFER):
                told(name, place_of(message).sequence, decode(message.headers or {}, message.data))


async def _consumer(
    connection: Connection, stream: str, subject: str, first: int
) -> tuple[str, int]:
    """Makes a consumer that forgets itself; tells how many events it will get."""
    name = new_id()
    config = {
        "name": name,
        "ack_policy": "none",
        "deliver_policy": "by_start_sequence",
        "opt_start_seq": max(first, 1),
        "filter_subject": subject,
        "inactive_threshold": 30 * _SECOND,
        "mem_storage": True,
        "num_replicas": 1,
    }
    body = {"stream_name": stream, "config": config, "action": "create"}
    made = await connection.api(f"CONSUMER.CREATE.{stream}.{name}", body)
    return name, made["num_pending"]


def _overlap(subject: str, own: str) -> bool:
    """Whether a message could have both subjects; either may have wildcards."""
    asked, kept = subject.split("."), own.split(".")
    for one, other in zip(asked, kept, strict=False):
        if ">" in (one, other):
            return True
        if "*" not in (one, other) and one != other:
            return False
    return len(asked) == len(kept) and not re.search(r"\s", subject)
