"""The parts of a process in the order in which they stand on one another, and their end in the
other order. `mesh.run` decides when.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import grpc
import grpc.aio

from mesh.admin import Readiness, host_and_port
from mesh.audit.witness import keeps_access
from mesh.auth.audit import Audit, to_log
from mesh.auth.keys import Fetch, TokenKeys, issuer_keys
from mesh.auth.revocations import Revocations
from mesh.auth.tokens import TokenVerifier
from mesh.chassis import Build, Chassis, Service
from mesh.db import Database
from mesh.duties import Duties, open_for
from mesh.errors import Transient
from mesh.gauging import gauge_certificate, gauge_database, watch_loop
from mesh.identity.given import GivenIdentity
from mesh.identity.workload import WorkloadIdentity, workload_of
from mesh.rpc.client import CHANNEL_OPTIONS, Channels, make_stub
from mesh.rpc.context import Context
from mesh.rpc.door import Door, remembering
from mesh.rpc.load import Load
from mesh.rpc.server import Handlers
from mesh.settings import Settings
from meshapi.v1.tokens_pb2_grpc import TokenKeysServiceServicer, TokenKeysServiceStub
from observability import logs, tracing

__all__ = ["Process", "handlers_of", "migrations_of", "token_keys_of"]

_DATABASE_PAUSE_S = 0.5

log = logs.get_logger(__name__)


class Process:
    """A process of a service. `start`, then `drain`, then `close`, which may come at any time.

    `broken` is done when something that should run for ever has ended.
    """

    def __init__(self, settings: Settings, build: Build, readiness: Readiness) -> None:
        self.settings = settings
        self.broken: asyncio.Future[BaseException | None] = asyncio.Future()
        self._build = build
        self._readiness = readiness
        self._parts = AsyncExitStack()
        self._endings: list[Callable[[], Awaitable[None]]] = []
        for part in ("database", "identity"):
            readiness.needs(part, lambda: "it waits for its turn")

    async def start(self) -> None:
        """Starts everything, waiting for what is not there yet for as long as it takes."""
        settings = self.settings
        self._own(watch_loop())
        database = await self._open_database()
        self._parts.push_async_callback(database.close)
        gauge_database(database)
        channels = Channels()
        self._parts.push_async_callback(channels.close)
        chassis = Chassis(settings, database, channels, self._readiness.missing)
        service = self._build(chassis)
        revocations = Revocations()
        keys = token_keys_of(service, settings, channels)
        handlers = handlers_of(
            service, settings, keys, revocations=revocations, audit=keeps_access(database)
        )
        duties = Duties(settings, database, service, handlers.policies, revocations)
        handlers.door.gate.wait = duties.freshness.wait
        if service.api:
            for api in duties.apis():
                handlers.add(api)
        self._readiness.needs("events", duties.missing)
        self._parts.push_async_callback(duties.stop)
        await duties.start(chassis)
        for work in service.background:
            self._own(_forever(work))
        if service.http is not None:
            await self._serve_http(service.http)
        identity = await self._obtain_identity()
        # Not ready in between: whoever replaces processes one by one would go on too early.
        self._readiness.needs("process", lambda: "it joins the mesh")
        await self._join(identity, channels)
        self._own(channels.mirrors.run())
        if service.api:
            await self._serve_grpc(handlers, identity)
        self._readiness.needs("process", lambda: "")

    async def drain(self) -> None:
        """Takes the process out of use, and lets what runs come to its end."""
        self._readiness.needs("process", lambda: "it drains")
        with tracing.span("drain", parent=None):
            for end in reversed(self._endings):
                await end()

    async def close(self) -> None:
        """Ends every part, the last one started first."""
        await self._parts.aclose()

    async def _open_database(self) -> Database:
        problem = "not open yet"
        self._readiness.needs("database", lambda: problem)
        while True:
            try:
                if self.settings.migrate_at_start:
                    await asyncio.to_thread(self._migrate)
                database = await open_for(self.settings)
            except Transient as error:
                if problem != error.message:
                    log.warning("no database: %s", error.message)
                problem = error.message
                await asyncio.sleep(_DATABASE_PAUSE_S)
            else:
                problem = ""
                return database

    def _migrate(self) -> None:
        from mesh.db.migrate import migrate

        migrate(self.settings.database_url, migrations_of(self._build))

    async def _obtain_identity(self) -> WorkloadIdentity:
        settings = self.settings
        kind = WorkloadIdentity if settings.identity else GivenIdentity
        identity = kind(
            settings.service,
            directory=settings.identity_dir,
            address=settings.identity,
            join_token_file=settings.join_token_file,
            trust_bundle_file=settings.trust_bundle_file,
        )
        self._readiness.needs("identity", lambda: identity.problem)
        gauge_certificate(identity)
        await identity.obtain()
        self._own(identity.keep())
        return identity

    async def _join(self, identity: WorkloadIdentity, channels: Channels) -> None:
        """Lets the channels follow the control plane, and the chassis what concerns it."""
        from mesh.xds.accepted import follow, mirror_rules
        from mesh.xds.bootstrap import bootstrap
        from mesh.xds.fallback import FILE, Fallback

        settings = self.settings
        takers = [lambda held: channels.mirrors.follow(mirror_rules(held))]
        if settings.xds_bootstrap is None:
            fallback = Fallback(identity.directory / FILE)
            self._parts.push_async_callback(fallback.stop)
            await fallback.start()
            takers.append(fallback.keep)
            self._own(fallback.write())
            config = bootstrap(settings, identity.directory, fallback.uri)
            os.environ["GRPC_XDS_BOOTSTRAP_CONFIG"] = json.dumps(config)

        def connect(service: str) -> grpc.aio.Channel:
            # Never in plaintext: without a word of the control plane the mesh's own TLS is used.
            credentials = grpc.xds_channel_credentials(identity.channel_credentials())
            target = settings.target.format(service=service)
            return grpc.aio.secure_channel(target, credentials, CHANNEL_OPTIONS)

        channels.join(connect)
        self._own(follow(*takers))

    async def _serve_grpc(self, handlers: Handlers, identity: WorkloadIdentity) -> None:
        from mesh.endpoint import Endpoint

        endpoint = Endpoint(self.settings, handlers, identity)
        self._parts.push_async_callback(endpoint.stop)
        await endpoint.start()
        if self.settings.control_plane:
            self._own(endpoint.register())
            self._readiness.needs("control plane", lambda: endpoint.problem)
        self._own(endpoint.watch())
        self._endings.append(endpoint.drain)

    async def _serve_http(self, app: Callable[..., Awaitable[None]]) -> None:
        from mesh.http import HttpServer
        from mesh.rest.rates import Addresses

        host, port = host_and_port(self.settings.http_listen)
        addresses = Addresses(self.settings.trusted_proxies)
        server = HttpServer(
            app, host, port, grace_s=self.settings.drain_s, is_proxy=addresses.is_proxy
        )
        self._own(server.serve())
        self._endings.append(server.stop)

    def _own(self, work: Coroutine[Any, Any, None]) -> None:
        """Runs something for as long as the process lives, which its end would break."""
        task = asyncio.create_task(work)

        def ended(task: asyncio.Task[None]) -> None:
            if not task.cancelled() and not self.broken.done():
                self.broken.set_result(task.exception())

        async def stop() -> None:
            task.remove_done_callback(ended)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

        task.add_done_callback(ended)
        self._parts.push_async_callback(stop)


def handlers_of(
    service: Service,
    settings: Settings,
    fetch_keys: Fetch,
    peer: Callable[[Context], str] | None = None,
    *,
    revocations: Revocations | None = None,
    audit: Audit = to_log,
) -> Handlers:
    """Wraps the handlers of a service. `peer` tells which workload calls: by its certificate, if
    nothing else is given. `audit` keeps what staff asks for.
    """
    tokens = TokenVerifier(TokenKeys(fetch_keys), revocations)
    door = Door(
        workload_of=peer or remembering(workload_of),
        tokens=tokens,
        is_production=settings.is_production,
        edges=settings.edges,
        audit=audit,
    )
    handlers = Handlers(door, Load(settings.max_running_cost))
    for servicer in service.api:
        handlers.add(servicer)
    return handlers


def token_keys_of(service: Service, settings: Settings, channels: Channels) -> Fetch:
    """Tells how a service gets the keys of tokens. Their issuer asks itself, without a call."""
    own = [each for each in service.api if isinstance(each, TokenKeysServiceServicer)]
    if own:
        list_keys: Any = own[0].ListTokenKeys
        return issuer_keys(lambda request: list_keys(request, None))
    issuer = make_stub(TokenKeysServiceStub, settings.token_issuer_service, channels)
    return issuer_keys(issuer.ListTokenKeys)


async def _forever(work: Callable[[], Awaitable[None]]) -> None:
    await work()


def migrations_of(build: Build) -> Path | None:
    """Finds the migrations of a service: the folder beside the module of its `build`."""
    module = sys.modules[build.__module__]
    folder = Path(module.__file__ or "").parent / "migrations"
    return folder if folder.is_dir() else None
