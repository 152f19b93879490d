"""A shop that runs as a service does: it sells, counts and greets, and an operator may ask it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import grpc.aio

from mesh.chassis import Service
from mesh.db import Database, UnitOfWork
from mesh.events import Event, Projection, Reaction
from mesh.events.api import EventsApi
from mesh.events.backfill import Facts
from mesh.events.jetstream import Jetstream
from mesh.events.loops import EventLoops
from mesh.process import handlers_of
from mesh.rpc import Context
from mesh.rpc.client import Channels, make_stub
from mesh.rpc.server import make_server
from mesh.settings import Settings
from mesh.testing.tokens import TokenMint
from meshapi.v1 import events_pb2 as pb
from meshapi.v1.backfill_pb2_grpc import BackfillServiceStub
from meshapi.v1.events_pb2_grpc import EventsServiceStub

from .contract import OrderPlaced
from .shop import project

__all__ = ["COUNTED", "Shop", "a_shop"]

NAME = "workload"

Handle = Callable[[UnitOfWork, Event[Any]], Awaitable[None]]

COUNTED = Projection(name="orders", on={OrderPlaced: project}, tables=("noted",))


@dataclass
class Shop:
    """The running shop, and the operator's stub."""

    database: Database
    loops: EventLoops
    operator: Any
    customer: Any

    async def subscriptions(self) -> dict[str, pb.Subscription]:
        answer = await self.operator.ListSubscriptions(pb.ListSubscriptionsRequest())
        return {each.name: each for each in answer.subscriptions}

    async def letters(self, event_id: str = "") -> list[pb.DeadLetter]:
        answer = await self.operator.ListDeadLetters(
            pb.ListDeadLettersRequest(subscription="shop-greeting", event_id=event_id)
        )
        return list(answer.dead_letters)

    async def redrive(self, key: str = "") -> list[pb.RedriveDeadLettersResponse]:
        request = pb.RedriveDeadLettersRequest(subscription="shop-greeting", key=key, actor="ana")
        return [told async for told in self.operator.RedriveDeadLetters(request)]


@asynccontextmanager
async def a_shop(
    database: Database,
    jetstream: Jetstream,
    reactions: Sequence[Reaction] = (),
    projections: Sequence[Projection] = (COUNTED,),
    *,
    url: str = "",
    facts: Sequence[Facts] = (),
) -> AsyncIterator[Shop]:
    loops = EventLoops(
        database, jetstream, "shop", projections, reactions, publishes=[OrderPlaced], retry_s=0.002
    )
    api = EventsApi(database, loops, url, facts)
    handlers = handlers_of(
        Service(name="shop", api=[api]),
        Settings(service="shop"),
        TokenMint().fetch,
        workload_of,
    )
    server = make_server()
    handlers.register(server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()

    def as_workload(workload: str) -> Channels:
        interceptors = [_Unary(workload), _Stream(workload)]
        return Channels(
            lambda _: grpc.aio.insecure_channel(f"127.0.0.1:{port}", interceptors=interceptors)
        )

    channels = [as_workload("operator"), as_workload("bff")]
    if facts:
        reader = as_workload("reader")
        channels.append(reader)
        loops.owners = lambda service: make_stub(BackfillServiceStub, service, reader)
    stubs = [make_stub(EventsServiceStub, "shop", each) for each in channels[:2]]
    await loops.start()
    try:
        yield Shop(database, loops, *stubs)
    finally:
        await loops.stop()
        for each in channels:
            await each.close()
        await server.stop(None)


class _Unary(grpc.aio.UnaryUnaryClientInterceptor):
    def __init__(self, workload: str) -> None:
        self._workload = workload

    async def intercept_unary_unary(self, continuation: Any, details: Any, request: Any) -> Any:
        return await continuation(_named(details, self._workload), request)


class _Stream(grpc.aio.UnaryStreamClientInterceptor):
    def __init__(self, workload: str) -> None:
        self._workload = workload

    async def intercept_unary_stream(self, continuation: Any, details: Any, request: Any) -> Any:
        return await continuation(_named(details, self._workload), request)


def workload_of(context: Context) -> str:
    return next(str(value) for key, value in context.invocation_metadata() or () if key == NAME)


def _named(details: Any, workload: str) -> Any:
    metadata = grpc.aio.Metadata(*(details.metadata or ()), (NAME, workload))
    return details._replace(metadata=metadata)
