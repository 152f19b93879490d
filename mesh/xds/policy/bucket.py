"""The policy's history in a NATS key-value bucket (ADR-8), one key, at most 64 revisions.

`nats kv history mesh-policy mesh` shows the same. A revision is the sequence of its message. A
change by anybody else is noticed at once: the key's subject is listened to, and read again after
each connection and every few seconds.
"""

from __future__ import annotations

import asyncio
import base64
import logging
from collections.abc import Callable
from typing import Any

from mesh.errors import FailedPrecondition, Transient
from mesh.events.jetstream import ApiError, Connection, Jetstream, read_answer

__all__ = ["BUCKET", "HISTORY", "KEY", "Bucket", "Kept"]

BUCKET = "mesh-policy"
KEY = "mesh"
HISTORY = 64

#: A revision, and what was kept as it.
Kept = tuple[int, bytes]

_STREAM = f"KV_{BUCKET}"
_SUBJECT = f"$KV.{BUCKET}.{KEY}"
_WRONG_LAST_SEQUENCE = 10071
_NO_MESSAGE = 10037
_CONNECT_S = 2.0
_LOOK_AGAIN_S = 5.0
_PAUSE_S = 0.5

_log = logging.getLogger(__name__)


class Bucket:
    """Reads and writes the bucket. Raises `Transient` when NATS does not answer."""

    def __init__(self, jetstream: Jetstream) -> None:
        self._jetstream = jetstream

    async def write(self, value: bytes, last: int) -> int:
        """Keeps a value as the successor of a revision; tells its own.

        Raises `FailedPrecondition` when another one came in between.
        """
        connection = await self._connection()
        headers = {"Nats-Expected-Last-Subject-Sequence": str(last)}
        try:
            await _make(connection)
            answer = await connection.request(_SUBJECT, value, headers=headers)
            return int(read_answer(answer.data)["seq"])
        except ApiError as error:
            if error.code == _WRONG_LAST_SEQUENCE:
                raise FailedPrecondition(
                    "POLICY_CHANGED", "Somebody else changed the policy just now."
                ) from None
            raise _no(error) from None

    async def history(self) -> list[Kept]:
        """Gives all revisions that are kept, the oldest first."""
        connection = await self._connection()
        found: list[Kept] = []
        try:
            while kept := await _read(
                connection, {"seq": found[-1][0] + 1 if found else 1, "next_by_subj": _SUBJECT}
            ):
                found.append(kept)
        except ApiError as error:
            raise _no(error) from None
        return found

    async def follow(self, take: Callable[[Kept | None], None]) -> None:
        """Hands over the newest revision, None for none, again and again, for ever."""
        while True:
            connection = await self._jetstream.connection()
            try:
                await self._follow(connection, take)
            except (Transient, ApiError) as error:
                _log.info("the policy's bucket does not answer: %s", error)
                await asyncio.sleep(_PAUSE_S)

    async def _follow(self, connection: Connection, take: Callable[[Kept | None], None]) -> None:
        await _make(connection)
        changed = asyncio.Event()
        subscription = await connection.subscribe(_SUBJECT, lambda _: changed.set())
        try:
            while not connection.lost.is_set():
                take(await _read(connection, {"last_by_subj": _SUBJECT}))
                await _one_of(changed, connection.lost)
                changed.clear()
        finally:
            await connection.unsubscribe(subscription)

    async def _connection(self) -> Connection:
        try:
            async with asyncio.timeout(_CONNECT_S):
                return await self._jetstream.connection()
        except TimeoutError:
            raise Transient(
                "NATS_UNAVAILABLE", "The policy is kept in NATS, which does not answer."
            ) from None


def _no(error: ApiError) -> Transient:
    return Transient("NATS_REFUSES", f"The policy is kept in NATS, which answers: {error}")


async def _one_of(*events: asyncio.Event) -> None:
    """Waits until one of them is set, or it is time to look again."""
    waiting = [asyncio.create_task(event.wait()) for event in events]
    try:
        await asyncio.wait(waiting, timeout=_LOOK_AGAIN_S, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)


async def _make(connection: Connection) -> None:
    try:
        await connection.api(f"STREAM.INFO.{_STREAM}")
    except ApiError as error:
        if error.code != ApiError.STREAM_NOT_FOUND:
            raise
    else:
        return
    wanted: dict[str, object] = {
        "name": _STREAM,
        "subjects": [f"$KV.{BUCKET}.>"],
        "max_msgs_per_subject": HISTORY,
        "storage": "file",
        "discard": "new",
        "allow_rollup_hdrs": True,
        "allow_direct": True,
        "deny_delete": True,
    }
    await connection.api(f"STREAM.CREATE.{_STREAM}", wanted)


async def _read(connection: Connection, which: dict[str, Any]) -> Kept | None:
    try:
        answer = await connection.api(f"STREAM.MSG.GET.{_STREAM}", which)
    except ApiError as error:
        if error.code in (_NO_MESSAGE, ApiError.STREAM_NOT_FOUND):
            return None
        raise
    message = answer["message"]
    return int(message["seq"]), base64.b64decode(message.get("data", ""))
