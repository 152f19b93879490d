"""Streams: how they are made, and how events are put into them, all of a batch or none.

One stream for each service that publishes. It drops nothing to make room (`discard: new`: a full
stream refuses, and the outbox waits) and lets nobody delete. The server syncs before it acks, once
for a whole atomic batch (ADR-50), which is why many events are sent in batches.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from mesh.db.outbox import Envelope
from mesh.ids import new_id

from .envelope import PARENT_SPAN, EventType
from .jetstream import ApiError, Connection, Request, read_answer
from .pull import Pull, place_of

__all__ = ["MAX_BATCH", "StreamSettings", "create_stream", "end_of", "ids_at_end", "put"]

MAX_BATCH: Final = 100
"""How many events are sent at once, at most."""

# Below this a batch costs the server more than it saves.
_LONGEST_CHAIN: Final = 8
_SECOND: Final = 1_000_000_000

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class StreamSettings:
    """What differs between a laptop and production."""

    replicas: int = 1
    max_bytes: int = 512 * 1024 * 1024
    max_age_s: int = 30 * 24 * 3600
    duplicate_window_s: int = 15 * 60


async def create_stream(
    connection: Connection, kind: EventType, settings: StreamSettings, *, first: int = 0
) -> None:
    """Makes the stream of an event, unless it exists; an operator's changes to it stay.

    `first` is the place of its first event, for a stream that takes the place of a lost one.

    Raises `Transient` or `ApiError`.
    """
    try:
        found = await connection.api(f"STREAM.INFO.{kind.stream}")
    except ApiError as error:
        if error.code != ApiError.STREAM_NOT_FOUND:
            raise
    else:
        if not found["config"].get("allow_atomic"):
            logger.warning("stream %s takes no batches: it will be slow", kind.stream)
        return
    wanted: dict[str, object] = {
        "name": kind.stream,
        "subjects": [kind.stream_subjects],
        "retention": "limits",
        "discard": "new",
        "storage": "file",
        "num_replicas": settings.replicas,
        "max_bytes": settings.max_bytes,
        "max_age": settings.max_age_s * _SECOND,
        "duplicate_window": settings.duplicate_window_s * _SECOND,
        "allow_atomic": True,
        "deny_delete": True,
        "deny_purge": True,
    }
    if first:
        wanted["first_seq"] = first
    await connection.api(f"STREAM.CREATE.{kind.stream}", wanted)
    logger.info("stream %s was created", kind.stream)


async def put(
    connection: Connection, envelopes: Sequence[Envelope], *, after: int | None = None
) -> int:
    """Puts events of one stream into it, in order, and returns when the server has them on disk.

    Gives the place of the last one. With `after` they are put there, right behind that place, or
    not at all: `ApiError.WRONG_PLACE` says that somebody else has put something there.

    Few are sent in a chain, which is faster, and many in a batch, which is cheaper. Events that are
    there already, by their ids, are not put again; they break a chain or a batch, whose events are
    then sent one by one.

    Raises `Transient`: some of them may be there; send the same again. Raises `ApiError`.
    """
    try:
        if len(envelopes) > _LONGEST_CHAIN:
            return await _put_batch(connection, envelopes, after)
        place, _ = await _put_chain(connection, envelopes, after)
        return place
    except ApiError as error:
        if error.code in (ApiError.STREAM_FULL, ApiError.WRONG_PLACE) or len(envelopes) == 1:
            raise
        logger.info("%d events are sent one by one: %s", len(envelopes), error)
        for envelope in envelopes:
            place, is_new = await _put_chain(connection, [envelope], after)
            if after is not None and is_new:
                after = place
        return place


async def end_of(connection: Connection, stream: str) -> int:
    """Gives the place of the last event that a stream has taken. Raises as `ids_at_end` does."""
    last: int = (await connection.api(f"STREAM.INFO.{stream}"))["state"]["last_seq"]
    return last


async def ids_at_end(connection: Connection, stream: str, most: int) -> dict[str, int]:
    """Gives the ids of the last events of a stream, at most `most`, and their places.

    Raises `Transient` or `ApiError`.
    """
    state = (await connection.api(f"STREAM.INFO.{stream}"))["state"]
    first, last = max(state["first_seq"], state["last_seq"] - most + 1, 1), state["last_seq"]
    if state["messages"] == 0:
        return {}
    name = new_id()
    config = {
        "name": name,
        "ack_policy": "none",
        "deliver_policy": "by_start_sequence",
        "opt_start_seq": first,
        "headers_only": True,
        "inactive_threshold": 10 * _SECOND,
        "mem_storage": True,
        "num_replicas": 1,
    }
    body = {"stream_name": stream, "config": config, "action": "create"}
    await connection.api(f"CONSUMER.CREATE.{stream}.{name}", body)
    ids: dict[str, int] = {}
    async with Pull(connection, stream, name, buffer=most) as pull:
        reached = 0
        while reached < last:
            for message in await pull.take(most):
                reached = place_of(message).sequence
                ids[(message.headers or {}).get("ce-id", "")] = reached
    return ids


async def _put_chain(
    connection: Connection, envelopes: Sequence[Envelope], after: int | None
) -> tuple[int, bool]:
    """Does not wait between events: the server takes each only right after the one before it.

    Gives the place of the last one, and whether it was not there before.
    """
    requests: list[Request] = []
    for envelope in envelopes:
        headers = _headers(envelope, None if requests else after)
        if requests:
            headers["Nats-Expected-Last-Msg-Id"] = envelopes[len(requests) - 1].event_id
        requests.append(Request(envelope.subject, envelope.payload, headers))
    answer = [read_answer(each.data) for each in await connection.request_all(requests)][-1]
    return answer["seq"], not answer.get("duplicate")


async def _put_batch(
    connection: Connection, envelopes: Sequence[Envelope], after: int | None
) -> int:
    """All or none (ADR-50)."""
    batch = new_id()
    for number, envelope in enumerate(envelopes, start=1):
        headers = _headers(envelope, after if number == 1 else None)
        headers["Nats-Batch-Id"] = batch
        headers["Nats-Batch-Sequence"] = str(number)
        if number < len(envelopes):
            await connection.send(envelope.subject, envelope.payload, headers=headers)
    headers["Nats-Batch-Commit"] = "1"
    answer = await connection.request(envelope.subject, envelope.payload, headers=headers)
    place: int = read_answer(answer.data)["seq"]
    return place


def _headers(envelope: Envelope, after: int | None) -> dict[str, str]:
    headers = {name: value for name, value in envelope.headers.items() if name != PARENT_SPAN}
    if after is not None:
        headers["Nats-Expected-Last-Sequence"] = str(after)
    return headers
