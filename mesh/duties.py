"""What a service does beside answering: it tells and hears events, carries out its sagas, and looks
at what must always be true of its rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial

from google.protobuf.descriptor_pool import Default
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from mesh.audit.api import AuditApi
from mesh.audit.sealer import Sealer
from mesh.audit.witness import witness
from mesh.auth.revocations import Revocations
from mesh.chassis import Chassis, Service
from mesh.checks.api import ChecksApi
from mesh.checks.runner import CheckRunner
from mesh.db import Database, open_database
from mesh.db.outbox import Envelope
from mesh.events.api import EventsApi
from mesh.events.envelope import seal
from mesh.events.freshness import Freshness
from mesh.events.jetstream import Jetstream
from mesh.events.loops import EventLoops
from mesh.events.revoked import RevocationLoop
from mesh.events.stream import StreamSettings
from mesh.rpc.policy import MethodPolicy
from mesh.saga.runner import SagaRunner
from mesh.settings import Settings
from meshapi.v1 import options_pb2
from meshapi.v1.backfill_pb2_grpc import BackfillServiceStub

__all__ = ["Duties", "open_for"]

# How long running sagas may go on when a process stops; what is left is resumed by the next one.
_SAGA_GRACE_S = 2.0


class Duties:
    """The events, the sagas and the checks of a service, started and stopped together."""

    def __init__(
        self,
        settings: Settings,
        database: Database,
        service: Service,
        policies: Sequence[MethodPolicy] = (),
        revocations: Revocations | None = None,
    ) -> None:
        self._database = database
        self._database_url = settings.database_url
        self._jetstream = Jetstream(
            settings.nats_url, service=service.name, roots=settings.trust_bundle_file
        )
        self._events = EventLoops(
            database,
            self._jetstream,
            service.name,
            service.projections,
            service.reactions,
            publishes=list(_events_beside(policies)),
            streams=StreamSettings(replicas=settings.stream_replicas),
            instance=settings.instance_id,
        )
        self._facts = service.facts
        # An edge neither tells nor hears.
        concerned = service.api or service.projections or service.reactions
        self._has_events = bool(settings.nats_url and concerned)
        self._revoked = RevocationLoop(
            self._jetstream,
            Revocations() if revocations is None else revocations,
            service=service.name,
            event=settings.session_end_event,
        )
        # Without users nobody shows a token.
        self._hears_revocations = any(policy.needs_user for policy in policies)
        self._sagas = SagaRunner(
            database,
            service.sagas,
            max_unfinished=settings.max_unfinished_sagas,
            instance=settings.instance_id,
        )
        self._runs_sagas = bool(service.sagas)
        self._checks = CheckRunner(service.name, service.checks)
        self._sealer = Sealer(database)

    @property
    def freshness(self) -> Freshness:
        """Whether the service's copies include what a reader has seen happen."""
        return self._events.freshness

    def apis(self) -> list[object]:
        """What an operator may see and change of them."""
        events = EventsApi(self._database, self._events, self._database_url, self._facts)
        return [events, ChecksApi(self._checks), AuditApi(self._database)]

    async def start(self, chassis: Chassis) -> None:
        """Begins, and waits for nothing."""
        self._sealer.start()
        self._events.owners = partial(chassis.stub, BackfillServiceStub)
        if self._has_events:
            await self._jetstream.start()
            await self._events.start()
            if self._hears_revocations:
                self._revoked.start()
        if self._runs_sagas:
            await self._sagas.start()
            chassis.runs(self._sagas)
        self._checks.start()

    async def stop(self) -> None:
        """Ends the sagas, tells the last events, and lets NATS go."""
        await self._checks.stop()
        await self._sagas.stop(_SAGA_GRACE_S)
        await self._revoked.stop()
        await self._events.stop()
        await self._jetstream.stop()
        await self._sealer.stop()

    def missing(self) -> list[str]:
        """Says what keeps events from flowing."""
        return self._events.missing() if self._has_events else []


async def open_for(settings: Settings) -> Database:
    """Opens the database of a service, which has been migrated. Raises `Transient`."""
    seal = partial(_seal, settings.service)
    return await open_database(settings.database_url, seal=seal, witness=witness)


def _seal(source: str, event: Message, version: int, attributes: Mapping[str, str]) -> Envelope:
    return seal(event, version, attributes, source=source)


def _events_beside(policies: Sequence[MethodPolicy]) -> Iterator[type[Message]]:
    """Finds the events of a service: the messages with that option in `events.proto`, beside the
    contracts that it serves.
    """
    for package in {policy.path[1:].rpartition("/")[0].rpartition(".")[0] for policy in policies}:
        try:
            file = Default().FindFileByName(f"{package.replace('.', '/')}/events.proto")
        except KeyError:
            continue
        for message in file.message_types_by_name.values():
            if message.GetOptions().Extensions[options_pb2.event].stream:
                yield GetMessageClass(message)
