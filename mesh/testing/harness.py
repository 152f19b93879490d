"""One service in the test's own process: real gRPC over loopback, a real database, real sagas.

There is no control plane: channels are direct and in plaintext, and say in metadata which workload
calls. Other services are stand-in servicers, held to their contracts like the real ones:

    async with running(build, tmp_path, peers={"accounts": [FakeAccounts()]}) as transfers:
        stub = transfers.stub(TransfersServiceStub)
        with transfers.signed_in("maria"):
            await stub.CreateTransfer(...)
        assert await transfers.told(TransferCompleted)
"""

from __future__ import annotations

import asyncio
import atexit
import json
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import grpc.aio
from google.protobuf.message import Message

from mesh.audit.witness import keeps_access
from mesh.chassis import Build, Chassis, Service
from mesh.db import Database, Row, UnitOfWork, sql
from mesh.db.migrate import migrate
from mesh.duties import Duties, open_for
from mesh.events import Event, Projection, Reaction
from mesh.events.envelope import open as open_envelope
from mesh.events.envelope import seal
from mesh.process import handlers_of, migrations_of, token_keys_of
from mesh.rpc.client import Channels, make_stub
from mesh.rpc.context import Context, Outgoing, outgoing
from mesh.rpc.server import Handlers, make_server
from mesh.settings import Settings
from mesh.testing.tokens import TokenMint
from meshapi.v1.tokens_pb2 import TokenKey
from meshapi.v1.tokens_pb2_grpc import TokenKeysServiceServicer

__all__ = ["Running", "running"]

M = TypeVar("M", bound=Message)
S = TypeVar("S")

_WORKLOAD_KEY = "test-workload"

_OUTBOX = sql("SELECT headers, payload, subject FROM outbox WHERE type = :type ORDER BY id")


class _Loopback:
    """Where the services of a test listen, and the channels to them: a set for each workload."""

    def __init__(self) -> None:
        self.addresses: dict[str, str] = {}
        self._channels: dict[str, Channels] = {}

    def channels(self, workload: str) -> Channels:
        def connect(service: str) -> grpc.aio.Channel:
            # A service that nobody stands in for is away.
            address = self.addresses.get(service, "127.0.0.1:1")
            return grpc.aio.insecure_channel(
                address, interceptors=[_Names(workload), _NamesStreams(workload)]
            )

        return self._channels.setdefault(workload, Channels(connect, scheme="ipv4:"))

    async def serve(self, name: str, handlers: Handlers) -> grpc.aio.Server:
        server = make_server()
        handlers.register(server)
        self.addresses[name] = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
        await server.start()
        return server

    async def close(self) -> None:
        for channels in self._channels.values():
            await channels.close()


@dataclass(frozen=True)
class Running:
    """A service that runs, and what a test may do with it.

    `peers` are the servers of the stand-ins, by name: stop one, and that service is away.
    """

    service: Service
    chassis: Chassis
    database: Database
    mint: TokenMint
    peers: Mapping[str, grpc.aio.Server]
    _loopback: _Loopback

    def stub(self, stub_class: Callable[[grpc.aio.Channel], S], *, workload: str = "bff") -> S:
        """Makes a stub that asks the service, as a workload of the mesh."""
        return make_stub(stub_class, self.service.name, self._loopback.channels(workload))

    def signed_in(
        self, user_id: str, *, scope: str = "", second_factor: bool = False
    ) -> AbstractContextManager[Outgoing]:
        """Makes the calls of a block on behalf of a user, as the edge does. Gives what they carried
        and met.
        """
        token = self.mint.token(user_id, scope=scope, second_factor=second_factor)
        return outgoing(Outgoing(token=token))

    async def tell(self, event: Message, *, version: int = 0) -> None:
        """Lets every projection and reaction of the service hear an event, once, without NATS."""
        envelope = seal(event, source="test", version=version)
        heard = open_envelope(
            type(event), envelope.headers, envelope.payload, subject=envelope.subject
        )
        parts: list[Projection | Reaction] = [*self.service.projections, *self.service.reactions]
        for part in parts:
            handle = part.on.get(type(event))
            if handle is not None:
                await self.database.transact(handle, heard)

    async def told(self, kind: type[M]) -> list[Event[M]]:
        """Lists the events of a type that the service has published, in order."""
        rows = await self.database.read(_published, kind.DESCRIPTOR.full_name)
        return [
            open_envelope(kind, json.loads(row["headers"]), row["payload"], subject=row["subject"])
            for row in rows
        ]


@asynccontextmanager
async def running(
    build: Build,
    data_dir: Path,
    *,
    peers: Mapping[str, Sequence[object]] | None = None,
    nats_url: str = "",
    database_url: str = "",
    **settings: Any,
) -> AsyncIterator[Running]:
    """Runs a service. `data_dir` keeps its SQLite file, unless `database_url` names a PostgreSQL.

    `peers` are the servicers that stand in for other services. Without `nats_url` no event leaves
    the outbox and none is heard but by `Running.tell`. Further settings are those of
    `mesh.settings.Settings`.
    """
    name = build.__module__.split(".")[-2]
    known: dict[str, Any] = {"service": name, "data_dir": data_dir, "nats_url": nats_url}
    if database_url:
        known["database_url"] = database_url
    made = Settings(**(known | settings))
    await asyncio.to_thread(_prepare, made, migrations_of(build))
    async with AsyncExitStack() as parts:
        database = await open_for(made)
        parts.push_async_callback(database.close)
        mint, loopback = TokenMint(), _Loopback()
        parts.push_async_callback(loopback.close)
        own = loopback.channels(made.service)
        chassis = Chassis(made, database, own, list)
        service = build(chassis)

        async def keys() -> Sequence[TokenKey]:
            issues = any(isinstance(each, TokenKeysServiceServicer) for each in service.api)
            issued = await token_keys_of(service, made, own)() if issues else []
            return [mint.public_key(), *issued]

        handlers = handlers_of(service, made, keys, _workload_of, audit=keeps_access(database))
        servers = {}
        for name, servicers in (peers or {}).items():
            stand_in = Service(name=name, api=servicers)
            checked = handlers_of(stand_in, made, mint.fetch, _workload_of)
            servers[name] = await loopback.serve(name, checked)
            parts.push_async_callback(servers[name].stop, None)
        duties = Duties(made, database, service, handlers.policies)
        handlers.door.gate.wait = duties.freshness.wait
        for api in duties.apis():
            handlers.add(api)
        server = await loopback.serve(service.name, handlers)
        parts.push_async_callback(server.stop, None)
        parts.push_async_callback(duties.stop)
        await duties.start(chassis)
        yield Running(service, chassis, database, mint, servers, loopback)


class _Names(grpc.aio.UnaryUnaryClientInterceptor):
    """Says which workload calls: what a certificate says elsewhere."""

    def __init__(self, workload: str) -> None:
        self._workload = workload

    async def intercept_unary_unary(self, continuation: Any, details: Any, request: Any) -> Any:
        metadata = grpc.aio.Metadata(*(details.metadata or ()), (_WORKLOAD_KEY, self._workload))
        return await continuation(details._replace(metadata=metadata), request)


class _NamesStreams(grpc.aio.UnaryStreamClientInterceptor):
    """The same, for calls that answer with a stream."""

    def __init__(self, workload: str) -> None:
        self._workload = workload

    async def intercept_unary_stream(self, continuation: Any, details: Any, request: Any) -> Any:
        metadata = grpc.aio.Metadata(*(details.metadata or ()), (_WORKLOAD_KEY, self._workload))
        return await continuation(details._replace(metadata=metadata), request)


def _workload_of(context: Context) -> str:
    for key, value in context.invocation_metadata() or ():
        if key == _WORKLOAD_KEY:
            return str(value)
    return ""


def _prepare(settings: Settings, versions: Path | None) -> None:
    """Migrates the database. A SQLite file is copied from one that was migrated before."""
    if not settings.database_url.startswith("sqlite:"):
        migrate(settings.database_url, versions)
        return
    file = Path(settings.database_url.removeprefix("sqlite:///"))
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(_template(versions), file)


@cache
def _template(versions: Path | None) -> Path:
    folder = Path(tempfile.mkdtemp(prefix="template-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    file = folder / "template.db"
    migrate(f"sqlite:///{file}", versions)
    return file


async def _published(work: UnitOfWork, kind: str) -> list[Row]:
    return await work.fetch_all(_OUTBOX, type=kind)
