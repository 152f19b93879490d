"""Speaks `meshapi.v1.EventsService`, what an operator may see and change of a service's events, and
`meshapi.v1.BackfillService`, what it tells again.
"""

# gRPC names its methods in CamelCase.
# ruff: noqa: N802

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from typing import Final

from google.protobuf.timestamp_pb2 import Timestamp

from mesh.db import Database, Row
from mesh.errors import FailedPrecondition, NotFound, Transient
from mesh.rpc.context import Context
from meshapi.v1 import events_pb2 as pb
from meshapi.v1.backfill_pb2 import ListFactsRequest, ListFactsResponse
from meshapi.v1.backfill_pb2_grpc import BackfillServiceServicer
from meshapi.v1.events_pb2_grpc import EventsServiceServicer

from . import deadletters
from .backfill import Facts, tell_facts
from .deadletters import Hand
from .jetstream import ApiError
from .loops import EventLoops
from .projection import ProjectionLoop
from .reaction import ReactionLoop
from .survey import measure_outbox, standing_of

__all__ = ["EventsApi"]

_PAGE: Final = 100
_KINDS: Final = {
    ProjectionLoop: pb.SUBSCRIPTION_KIND_PROJECTION,
    ReactionLoop: pb.SUBSCRIPTION_KIND_REACTION,
}


class EventsApi(EventsServiceServicer, BackfillServiceServicer):
    """Any process of a service may be asked: what it does, it does in the database."""

    def __init__(
        self,
        database: Database,
        loops: EventLoops,
        database_url: str,
        facts: Sequence[Facts] = (),
    ) -> None:
        self._facts = {each.of.DESCRIPTOR.full_name: each for each in facts}
        self._database = database
        self._loops = loops
        self._url = database_url

    async def ListSubscriptions(
        self, request: pb.ListSubscriptionsRequest, context: Context
    ) -> pb.ListSubscriptionsResponse:
        found = [await self._subscription(loop) for loop in self._loops.subscriptions]
        size = await self._database.read(measure_outbox)
        outbox = pb.Outbox(
            unsent=size.unsent,
            oldest_age_ms=size.oldest_age_ms,
            scheduled=size.scheduled,
            kept=size.kept,
            problem=self._loops.outbox_problem,
        )
        return pb.ListSubscriptionsResponse(
            subscriptions=found, outbox=outbox, leads=self._loops.leads
        )

    async def PauseSubscription(
        self, request: pb.PauseSubscriptionRequest, context: Context
    ) -> pb.PauseSubscriptionResponse:
        self._must_exist(request.subscription)
        await self._loops.set_concurrency(request.subscription, 0, request.actor)
        return pb.PauseSubscriptionResponse()

    async def ResumeSubscription(
        self, request: pb.ResumeSubscriptionRequest, context: Context
    ) -> pb.ResumeSubscriptionResponse:
        loop = self._must_exist(request.subscription)
        wanted = request.concurrency or None
        await self._loops.set_concurrency(request.subscription, wanted, request.actor)
        return pb.ResumeSubscriptionResponse(concurrency=loop.concurrency)

    async def ListDeadLetters(
        self, request: pb.ListDeadLettersRequest, context: Context
    ) -> pb.ListDeadLettersResponse:
        rows = await self._database.read(
            deadletters.fetch_parked,
            request.subscription,
            request.event_id,
            request.key,
            request.page_size or _PAGE,
        )
        letters = [_letter(row) for row in rows]
        if request.event_id:
            for row, letter in zip(rows, letters, strict=True):
                letter.payload = row["payload"]
                letter.headers.update(json.loads(row["headers"]))
                history = await self._database.read(
                    deadletters.fetch_history, row["consumer"], row["event_id"]
                )
                letter.history.extend(map(_action, history))
        return pb.ListDeadLettersResponse(
            dead_letters=letters, total=await self._count(request.subscription)
        )

    async def RedriveDeadLetters(
        self, request: pb.RedriveDeadLettersRequest, context: Context
    ) -> AsyncIterator[pb.RedriveDeadLettersResponse]:
        self._must_exist(request.subscription)
        told = pb.RedriveDeadLettersResponse(remaining=await self._count(request.subscription))
        clock = asyncio.get_running_loop().time
        began, tried = clock(), 0
        for loop in self._reactions(request.subscription):
            async for redriven in loop.redrive(request.key, Hand(request.actor)):
                tried += 1
                told.event_id, told.error = redriven.event_id, redriven.error
                told.failed += bool(redriven.error)
                told.applied += not redriven.error
                told.remaining -= not redriven.error
                yield told
                if request.per_second:
                    await asyncio.sleep(max(0.0, began + tried / request.per_second - clock()))
        told.remaining = await self._count(request.subscription)
        told.event_id = told.error = ""
        yield told

    async def EditDeadLetter(
        self, request: pb.EditDeadLetterRequest, context: Context
    ) -> pb.EditDeadLetterResponse:
        self._must_exist(request.subscription)
        routes = {
            name: route
            for loop in self._reactions(request.subscription)
            for name, route in loop.routes.items()
        }
        await self._database.transact(
            deadletters.edit,
            request.subscription,
            request.event_id,
            request.payload,
            routes,
            Hand(request.actor, request.note),
        )
        return pb.EditDeadLetterResponse()

    async def DropDeadLetter(
        self, request: pb.DropDeadLetterRequest, context: Context
    ) -> pb.DropDeadLetterResponse:
        self._must_exist(request.subscription)
        hand = Hand(request.actor, request.note)
        await self._database.transact(
            deadletters.drop, request.subscription, request.event_id, hand
        )
        for loop in self._reactions(request.subscription):
            await loop.count_parked()
        return pb.DropDeadLetterResponse()

    async def RebuildProjection(
        self, request: pb.RebuildProjectionRequest, context: Context
    ) -> AsyncIterator[pb.RebuildProjectionResponse]:
        if not isinstance(self._must_exist(request.subscription), ProjectionLoop):
            raise FailedPrecondition(
                "NOT_A_PROJECTION", "What a reaction has done is not built again."
            )
        async for progress in self._loops.rebuild(request.subscription, self._url):
            done = progress.difference
            yield pb.RebuildProjectionResponse(
                phase=pb.REBUILD_PHASE_READING if done is None else pb.REBUILD_PHASE_DONE,
                read=progress.read,
                total=progress.total,
                removed=0 if done is None else done.removed,
                added=0 if done is None else done.added,
            )

    async def ReconcileStreams(
        self, request: pb.ReconcileStreamsRequest, context: Context
    ) -> pb.ReconcileStreamsResponse:
        try:
            found = await self._loops.reconcile(
                dry_run=request.dry_run, accept_loss=request.accept_loss
            )
        except ApiError as error:
            raise Transient("NATS_REFUSES", f"NATS refuses: {error}.") from error
        return pb.ReconcileStreamsResponse(
            streams=[
                pb.StreamState(
                    stream=each.stream,
                    expected_sequence=each.expected,
                    found_sequence=each.found,
                    missing=each.missing,
                    restored=each.restored,
                    problem=each.problem,
                    must_be_removed=each.must_be_removed,
                )
                for each in found
            ]
        )

    async def ListFacts(
        self, request: ListFactsRequest, context: Context
    ) -> AsyncIterator[ListFactsResponse]:
        async for told in tell_facts(self._database, self._facts, request.types):
            yield told

    async def _subscription(self, loop: ProjectionLoop | ReactionLoop) -> pb.Subscription:
        try:
            connection = await self._loops.connection()
        except Transient:
            connection = None
        standing = await standing_of(loop, self._database, connection)
        found = pb.Subscription(
            name=loop.consumer,
            kind=_KINDS[type(loop)],
            stream=loop.stream,
            types=list(loop.routes),
            concurrency=loop.concurrency,
            dead_letters=standing.dead_letters,
            redelivered=standing.redelivered,
        )
        if isinstance(loop, ProjectionLoop):
            found.problem = loop.missing() or ""
        if standing.lag is not None:
            found.lag = standing.lag
        return found

    def _must_exist(self, subscription: str) -> ProjectionLoop | ReactionLoop:
        loops = self._loops.subscriptions
        for loop in loops:
            if loop.consumer == subscription:
                return loop
        known = ", ".join(sorted({loop.consumer for loop in loops})) or "none"
        raise NotFound("NO_SUCH_SUBSCRIPTION", f"{subscription} is not one of: {known}.")

    def _reactions(self, subscription: str) -> list[ReactionLoop]:
        return [loop for loop in self._loops.reactions if loop.consumer == subscription]

    async def _count(self, subscription: str) -> int:
        names = {loop.consumer for loop in self._loops.reactions}
        chosen = {subscription} if subscription else names
        return sum([await self._database.read(deadletters.count_parked, name) for name in chosen])


def _letter(row: Row) -> pb.DeadLetter:
    headers: dict[str, str] = json.loads(row["headers"])
    return pb.DeadLetter(
        subscription=row["consumer"],
        event_id=row["event_id"],
        stream=row["stream"],
        sequence=row["sequence"],
        type=row["type"],
        key=row["key"],
        error=row["error"],
        attempts=row["attempts"],
        parked_at=_time(row["parked_at_us"]),
        traceparent=headers.get("traceparent", ""),
    )


def _action(row: Row) -> pb.DeadLetterAction:
    return pb.DeadLetterAction(
        action=row["action"],
        actor=row["actor"],
        note=row["note"],
        acted_at=_time(row["acted_at_us"]),
    )


def _time(at_us: int) -> Timestamp:
    time = Timestamp()
    time.FromMicroseconds(at_us)
    return time
