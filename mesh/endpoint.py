"""Where a process takes calls: its gRPC server, and its place in the control plane's registry."""

from __future__ import annotations

import asyncio
import os

from google.protobuf.duration_pb2 import Duration
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import SERVICE_NAME as HEALTH
from grpc_health.v1.health import aio as health

from mesh.admin import host_and_port
from mesh.identity.workload import WorkloadIdentity
from mesh.measures import measured
from mesh.rpc.judgement import Judgement
from mesh.rpc.policy import MethodPolicy
from mesh.rpc.server import Handlers, make_server
from mesh.settings import Settings
from mesh.xds.leases import Leases
from meshapi.v1 import registry_pb2
from observability import logs

__all__ = ["Endpoint"]

# How long clients may take to learn that an instance drains.
_DRAIN_S = 3.0

# Calls that were on their way when the last client learnt of it arrive within this.
_QUIET_S = 0.5
_MOST_QUIET_S = 3.0

_SERVING = health_pb2.HealthCheckResponse.SERVING

log = logs.get_logger(__name__)


class Endpoint:
    """The server of a process. `problem` says why the control plane does not list it."""

    def __init__(self, settings: Settings, handlers: Handlers, identity: WorkloadIdentity) -> None:
        self._settings = settings
        self._handlers = handlers
        self._identity = identity
        self._server = make_server(identity.life_s / 4)
        self._health = health.HealthServicer()
        self._lease = Leases(
            settings.registry or settings.control_plane, identity.channel_credentials, measured
        )
        self._address = ""

    @property
    def problem(self) -> str:
        return self._lease.problem

    async def start(self) -> None:
        """Starts to take calls. Raises `RuntimeError` when the port is taken."""
        self._handlers.register(self._server)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        names = [*self._handlers.services, HEALTH]
        if not self._settings.is_production:
            from grpc_reflection.v1alpha import reflection

            reflection.enable_server_reflection([*names, reflection.SERVICE_NAME], self._server)
        if self._settings.debug_services:
            import grpc_admin

            grpc_admin.add_admin_servicers(self._server)
        port = self._server.add_secure_port(
            self._settings.listen, self._identity.server_credentials()
        )
        host = self._settings.advertise or host_and_port(self._settings.listen)[0]
        self._address = f"{host}:{port}"
        await self._server.start()
        for name in ("", *names):
            await self._health.set(name, _SERVING)
        log.info("serving", extra={"address": self._address})

    async def register(self) -> None:
        """Keeps the process registered, for ever."""
        settings = self._settings
        instance = registry_pb2.Instance(
            service=settings.service,
            instance_id=settings.instance_id,
            address=self._address,
            version=settings.version,
            zone=settings.zone,
            pid=os.getpid(),
        )
        await self._lease.keep(instance, [_route(policy) for policy in self._handlers.policies])

    async def watch(self) -> None:
        """Watches what the server bears and what it fails, for ever."""
        judgement = Judgement(
            self._handlers.load, lambda failing: self._lease.judge(failing=failing)
        )
        await asyncio.gather(self._handlers.load.watch(), judgement.watch())

    async def drain(self) -> None:
        """Has the control plane take the process out of use, and finishes what runs."""
        await self._health.enter_graceful_shutdown()
        if self._lease.registered:
            if not await self._lease.drain(_DRAIN_S):
                log.warning("not every client knows that this process drains")
            await self._be_quiet()
        await self._server.stop(self._settings.drain_s)

    async def stop(self) -> None:
        """Stops at once. After `drain` there is nothing left to stop."""
        await self._server.stop(None)

    async def _be_quiet(self) -> None:
        """Waits until no call has begun for a moment."""
        load, loop = self._handlers.load, asyncio.get_running_loop()
        until = loop.time() + _MOST_QUIET_S
        seen = -1
        while seen != load.started and loop.time() < until:
            seen = load.started
            await asyncio.sleep(_QUIET_S)


def _route(policy: MethodPolicy) -> registry_pb2.MethodRoute:
    timeout = Duration()
    timeout.FromNanoseconds(round(policy.timeout_s * 1e9))
    return registry_pb2.MethodRoute(
        path=policy.path,
        retriable=policy.retriable,
        timeout=timeout,
        no_side_effects=policy.changes_nothing,
    )
