"""The control plane: discovery and registry on one port, behind mutual TLS; identity on another."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import grpc

from mesh.identity.authority import new_key, pem_of
from mesh.identity.issued import tidy
from mesh.identity.join import authority_directory
from mesh.identity.live import LiveAuthority
from mesh.identity.service import IdentityService
from mesh.identity.workload import rotating_credentials
from mesh.xds.admin import pages, serve
from mesh.xds.load import LoadReports, LoadService
from mesh.xds.measured import Measurements
from mesh.xds.policy.policies import Policies
from mesh.xds.publisher import Publisher
from mesh.xds.registry import Registry, RegistryService
from mesh.xds.server import DiscoveryService
from mesh.xds.settings import ControlPlaneSettings
from mesh.xds.sight import SightService
from mesh.xds.store import Store
from mesh.xds.together import until_one_ends
from meshapi.v1.identity_pb2_grpc import add_IdentityServiceServicer_to_server

__all__ = ["WORKLOAD", "ControlPlane"]

WORKLOAD = "control-plane"

_log = logging.getLogger(__name__)

_OPTIONS = (
    # Two control planes at one port would each know half of the mesh.
    ("grpc.so_reuseport", 0),
    ("grpc.max_receive_message_length", 1024 * 1024),
    # A client that is frozen holds nothing up for longer than this.
    ("grpc.keepalive_time_ms", 5_000),
    ("grpc.keepalive_timeout_ms", 3_000),
    ("grpc.http2.ping_timeout_ms", 3_000),
    # Clients look after their connections too, and are not to be punished for it.
    ("grpc.http2.min_ping_interval_without_data_ms", 1_000),
    ("grpc.http2.max_ping_strikes", 0),
)

_SHARED = (*_OPTIONS[1:], ("grpc.so_reuseport", 1))

_MOST_ASKING = 100


class ControlPlane:
    """All of the control plane in one process.

    `await start()`, then `await stop()`; `await serve()` in between tells of what breaks. The
    addresses are known once it has started.
    """

    def __init__(self, settings: ControlPlaneSettings) -> None:
        self.settings = settings
        self.address = ""
        self.identity_address = ""
        self.admin_address = ""
        self.publisher = Publisher(settings.last_instance_grace_s)
        self.measurements = Measurements()
        self.registry = Registry(self.publisher, settings.lease_ttl_s, self.measurements)
        self.reports = LoadReports()
        self.policies = Policies(
            self.publisher,
            self.reports,
            self.measurements,
            settings.data_dir / "policy.json",
            settings.nats_url,
            authority_directory(settings.authority_data_dir) / "bundle.pem",
        )
        self._store = Store(settings.data_dir / "catalogue.json")
        self._servers: list[grpc.aio.Server] = []
        self._admin: asyncio.Server | None = None
        self._working: asyncio.Task[None] | None = None
        self._silence: asyncio.TimerHandle | None = None

    async def start(self) -> None:
        """Reads what the last run knew, and serves. Raises `RuntimeError` for a port in use."""
        settings = self.settings
        settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        directory = authority_directory(settings.authority_data_dir)
        authority = await asyncio.to_thread(LiveAuthority, directory)
        # A secret that is mounted cannot be written to.
        register = directory if os.access(directory, os.W_OK) else settings.data_dir
        await asyncio.to_thread(tidy, register)
        await self.policies.start(settings.silence_s)
        self.publisher.catalogue.restore(
            self._store.load(), until=time.monotonic() + settings.return_window_s
        )
        self.publisher.publish()
        self.publisher.on_publish.append(self._store.changed)
        certificate = _OwnCertificate(authority, settings)
        await self._serve_mesh(certificate)
        await self._serve_identity(authority, certificate, register)
        if settings.admin_listen:
            content = pages(
                self.publisher, self.registry, self.reports, lambda: self._working is not None
            )
            self._admin = await serve(settings.admin_listen, content)
            host, port = self._admin.sockets[0].getsockname()[:2]
            self.admin_address = f"{host}:{port}"
        self._working = asyncio.create_task(
            until_one_ends(
                self.registry.sweep(),
                self._store.keep(self.publisher.catalogue),
                self.policies.run(),
            )
        )
        self._silence = asyncio.get_running_loop().call_later(settings.silence_s, self._speak)
        _log.info(
            "control plane started",
            extra={"address": self.address, "identity_address": self.identity_address},
        )

    async def serve(self) -> None:
        """Goes on for ever, unless a part breaks: then it raises what broke."""
        if self._working is not None:
            await asyncio.shield(self._working)

    async def stop(self) -> None:
        """Ends every stream. The catalogue stays as it is: the instances live on."""
        self.registry.stop()
        if self._silence is not None:
            self._silence.cancel()
        await asyncio.gather(*(server.stop(None) for server in self._servers))
        self._servers.clear()
        if self._admin is not None:
            self._admin.close()
            await self._admin.wait_closed()
        await self.policies.stop()
        self.publisher.stop()
        # Not after a start that failed: the file may be another control plane's.
        if self._working is not None:
            self._working.cancel()
            await asyncio.gather(self._working, return_exceptions=True)
            services = self.publisher.catalogue.services.values()
            await asyncio.to_thread(self._store.save, services)
        _log.info("control plane stopped")

    async def _serve_mesh(self, certificate: _OwnCertificate) -> None:
        listens = [(self.settings.listen, _OPTIONS)]
        if self.settings.shared_listen:
            listens.append((self.settings.shared_listen, _SHARED))
        found = []
        for address, options in listens:
            server = grpc.aio.server(options=options)
            server.add_generic_rpc_handlers(self._handlers())
            found.append(_listen(server, address, certificate.credentials(mutual=True)))
            await server.start()
            self._servers.append(server)
        self.address = found[0]

    def _handlers(self) -> tuple[grpc.GenericRpcHandler, ...]:
        return (
            DiscoveryService(self.publisher).handler(),
            RegistryService(self.registry).handler(),
            LoadService(self.reports).handler(),
            SightService(self.publisher, self.reports).handler(),
            self.policies.service.handler(),
        )

    async def _serve_identity(
        self, authority: LiveAuthority, certificate: _OwnCertificate, register: Path
    ) -> None:
        # Whoever can reach the port can ask.
        options = _SHARED if self.settings.shared_listen else _OPTIONS
        server = grpc.aio.server(options=options, maximum_concurrent_rpcs=_MOST_ASKING)
        ttl = timedelta(seconds=self.settings.certificate_ttl_s)
        identity = IdentityService(authority, ttl, register)
        add_IdentityServiceServicer_to_server(identity, server)
        self.identity_address = _listen(
            server, self.settings.identity_listen, certificate.credentials(mutual=False)
        )
        await server.start()
        self._servers.append(server)

    def _speak(self) -> None:
        """Answers for unknown names too, and acknowledges: everybody has had the time to return."""
        self.publisher.snapshot.complete = True
        self.publisher.wake()
        self.publisher.answered()


class _OwnCertificate:
    """The control plane's certificate, which it issues to itself, and renews at half its life."""

    def __init__(self, authority: LiveAuthority, settings: ControlPlaneSettings) -> None:
        self._authority = authority
        self._settings = settings

    def credentials(self, *, mutual: bool) -> grpc.ServerCredentials:
        renew_at = datetime.max.replace(tzinfo=UTC)
        given = self._authority.now()

        def issue() -> grpc.ServerCertificateConfiguration:
            nonlocal renew_at
            key = new_key()
            ttl = timedelta(seconds=self._settings.certificate_ttl_s)
            names = self._settings.server_names
            issued = given.issue(WORKLOAD, key.public_key(), ttl, names)
            renew_at = issued.expires_at - ttl / 2
            return grpc.ssl_server_certificate_configuration(
                [(pem_of(key), issued.chain_pem)], given.trust_bundle if mutual else None
            )

        def renewed() -> grpc.ServerCertificateConfiguration | None:
            nonlocal given
            now = self._authority.now()
            if now is given and datetime.now(UTC) <= renew_at:
                return None
            given = now
            return issue()

        return rotating_credentials(issue(), renewed, mutual=mutual)


def _listen(server: grpc.aio.Server, address: str, credentials: grpc.ServerCredentials) -> str:
    host, _, _ = address.rpartition(":")
    return f"{host}:{server.add_secure_port(address, credentials)}"
