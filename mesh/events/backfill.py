"""Telling facts again from the tables of their owner, for streams that have lost their beginning.

Theory of operation. A stream drops what is older than it keeps. Its owner still knows what has
happened: it tells its facts again, page by page, as they are in its tables now. What happens while
it does is in the stream, and may be in a page, too; so a reader notes the end of the stream before
the first page, reads on from there after the last one, and skips versions that it was told. At the
end the owner names a place in the stream at or before which all is that was told: from there on the
reader is as if it had read everything.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from google.protobuf.message import Message

from mesh.clock import now_us
from mesh.db import Database, UnitOfWork, sql
from mesh.errors import FailedPrecondition, NotFound, Transient
from meshapi.v1 import backfill_pb2 as pb

from . import Event
from .envelope import describe
from .history import fetch_mark
from .routes import Route

if TYPE_CHECKING:
    from meshapi.v1.backfill_pb2_grpc import BackfillServiceAsyncStub

__all__ = ["Fact", "Facts", "Owners", "facts_of", "owner_of", "tell_facts"]

_PAGE: Final = 200
_DRAIN_S: Final = 10.0
_LOOK_EVERY_S: Final = 0.02

_LAST_KEPT = sql("SELECT MAX(id) AS id FROM outbox")
_UNSENT = sql("SELECT COUNT(*) AS count FROM outbox WHERE sent_at_us IS NULL AND id <= :id")


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """Something that happened. `mark` is where the page after it begins; `version` is that of the
    event, 0 for what is told as it is now and may be told again.
    """

    event: Message
    version: int
    time_us: int
    mark: str


@dataclass(frozen=True, kw_only=True)
class Facts:
    """How a service tells the facts of one type again: a page after a mark, of at most so many.

    The facts of one key come in the order of their versions.
    """

    of: type[Message]
    page: Callable[[UnitOfWork, str, int], Awaitable[Sequence[Fact]]]


Owners = Callable[[str], "BackfillServiceAsyncStub"]
"""Gives a stub of the service of a name."""


def owner_of(kind: str) -> str:
    """The service that tells events of a type: `bank.accounts.v1.EntryPosted` is of `accounts`."""
    return kind.split(".")[-3]


async def tell_facts(
    database: Database, known: Mapping[str, Facts], types: Sequence[str]
) -> AsyncIterator[pb.ListFactsResponse]:
    """Tells facts, and at the end where they are in the stream.

    Raises `NotFound` for a type that is not told again, `Transient` if the outbox does not empty.
    """
    unknown = [name for name in types if name not in known]
    if unknown:
        raise NotFound("FACTS_NOT_TOLD", f"{unknown[0]} is not told again.")
    for name in types:
        key, mark = describe(known[name].of.DESCRIPTOR).key, ""
        while page := await database.read(known[name].page, mark, _PAGE):
            mark = page[-1].mark
            yield pb.ListFactsResponse(
                facts=[
                    pb.Fact(
                        type=name,
                        key=str(getattr(fact.event, key)),
                        version=fact.version,
                        time_us=fact.time_us,
                        payload=fact.event.SerializeToString(),
                    )
                    for fact in page
                ]
            )
    await _drain(database)
    stream = describe(known[types[0]].of.DESCRIPTOR).stream
    found = await database.read(fetch_mark, stream)
    yield pb.ListFactsResponse(through_sequence=0 if found is None else found.sequence)


async def _drain(database: Database) -> None:
    """Waits until everything that was committed up to now is in the stream."""
    last = await database.read(_last_kept)
    until = asyncio.get_running_loop().time() + _DRAIN_S
    while await database.read(_count_unsent, last):
        if asyncio.get_running_loop().time() > until:
            raise Transient("OUTBOX_WAITS", "What was told is not in the stream yet.")
        await asyncio.sleep(_LOOK_EVERY_S)


async def facts_of(
    owners: Owners, stream: str, routes: Mapping[str, Route]
) -> AsyncIterator[tuple[list[tuple[Route, Event[Any]]], int | None]]:
    """Has the owner of a stream tell its facts: pages of events, and in the end their place.

    Raises `FailedPrecondition` if it does not tell one of the types again, `Transient` if it does
    not answer.
    """
    import grpc

    from mesh.rpc.status import error_of

    owner = owners(owner_of(next(iter(routes))))
    request = pb.ListFactsRequest(types=list(routes))
    call: Any = owner.ListFacts(request)
    try:
        async for told in call:
            page = [
                (routes[fact.type], _event(routes[fact.type], fact, stream)) for fact in told.facts
            ]
            yield page, told.through_sequence if told.HasField("through_sequence") else None
    except grpc.RpcError as failure:
        error = error_of(failure)
        if isinstance(error, Transient):
            raise error from None
        raise FailedPrecondition(
            "STREAM_TRUNCATED",
            f"{stream} has lost its beginning, and its owner does not tell it again:"
            f" {error.message}",
        ) from None
    finally:
        call.cancel()


def _event(route: Route, fact: pb.Fact, stream: str) -> Event[Any]:
    return Event(
        id=f"{fact.type}:{fact.key}:{fact.version}",
        type=fact.type,
        source=owner_of(fact.type),
        subject=f"{fact.type}.{fact.key}",
        key=fact.key,
        version=fact.version,
        time_us=fact.time_us or now_us(),
        traceparent="",
        data=route.message.FromString(fact.payload),
        stream=stream,
        sequence=0,
    )


async def _last_kept(work: UnitOfWork) -> int:
    row = await work.fetch_one(_LAST_KEPT)
    return 0 if row is None else row["id"] or 0


async def _count_unsent(work: UnitOfWork, last: int) -> int:
    row = await work.fetch_one(_UNSENT, id=last)
    return 0 if row is None else row["count"]
