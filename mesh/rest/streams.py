"""Methods that answer with a stream, over HTTP: a file in pieces, or server-sent events.

A method whose route names a `response_body` of the type `google.api.HttpBody` answers with a file;
the field `file_name` beside it, if there is one, is what it may be saved as (RFC 6266). Any other
stream is one of server-sent events (HTML Living Standard, 9.2): `event_id` is the event's id, its
name is the member of the message's `oneof` that is set, its data is that member. A message with
none says that all is well, and is written as a comment.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc
import orjson
from google.protobuf.message import Message
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from mesh.rest.binding import Binding
from mesh.rest.convert import to_json
from mesh.rpc.status import error_of

__all__ = ["MOST_S", "answer_with_stream", "resume"]

# A stream of events ends after so long: who listens comes back, and is let in again or not.
MOST_S = 60.0
RETRY_MS = 1_000
LAST_EVENT_ID = "last_event_id"

Stream = Callable[..., Any]


def resume(request: Request, message: Any) -> None:
    """Puts the id of the last event that was heard into a request that takes one."""
    if LAST_EVENT_ID in message.DESCRIPTOR.fields_by_name and not message.last_event_id:
        message.last_event_id = request.headers.get("last-event-id", "")


async def answer_with_stream(binding: Binding, call: Stream, message: Message) -> Response:
    """Answers once the first message is there, so that a refusal is a problem like any other.

    Raises what the call is refused with.
    """
    asked = call(message, timeout=MOST_S)
    pieces = aiter(asked)
    try:
        first = await anext(pieces)
    except grpc.aio.AioRpcError as error:
        raise error_of(error) from None
    except BaseException:
        asked.cancel()
        raise
    if field := binding.file_field:
        body = getattr(first, field)
        headers = {"Content-Disposition": _disposition(getattr(first, "file_name", ""))}
        return StreamingResponse(
            _file(field, first, pieces, asked.cancel), 200, headers, body.content_type or None
        )
    headers = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
    return StreamingResponse(
        _events(first, pieces, asked.cancel), 200, headers, "text/event-stream"
    )


async def _file(
    field: str, first: Any, pieces: AsyncIterator[Any], cancel: Callable[[], object]
) -> AsyncIterator[bytes]:
    """The bytes of a file. What breaks off leaves a response that is not complete."""
    try:
        yield getattr(first, field).data
        async for piece in pieces:
            yield getattr(piece, field).data
    finally:
        cancel()


async def _events(
    first: Any, pieces: AsyncIterator[Any], cancel: Callable[[], object]
) -> AsyncIterator[bytes]:
    """Events, until the stream is over; who listens asks again, and is told then why not."""
    try:
        yield b"retry: %d\n\n" % RETRY_MS + _event(first)
        with contextlib.suppress(grpc.aio.AioRpcError, asyncio.CancelledError):
            async for piece in pieces:
                yield _event(piece)
    finally:
        cancel()


def _event(message: Any) -> bytes:
    [choice] = message.DESCRIPTOR.oneofs
    member = message.WhichOneof(choice.name)
    told = b"id: %b\n" % message.event_id.encode()
    if member is None:
        return b": alive\n" + told + b"\n"
    name = message.DESCRIPTOR.fields_by_name[member].json_name
    data = orjson.dumps(to_json(getattr(message, member)))
    return told + b"event: %b\ndata: %b\n\n" % (name.encode(), data)


def _disposition(file_name: str) -> str:
    safe = re.sub(r"[^\w.-]", "_", file_name, flags=re.ASCII)
    return f'attachment; filename="{safe}"' if safe else "attachment"
