"""`meshapi.v1.RegistryService`: an instance is registered for as long as its stream is open and
beats.

A process that is killed loses its connection, and is withdrawn within milliseconds; one that is
frozen stops beating, and is withdrawn when its lease runs out.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import re
import time
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, field
from typing import Any

import grpc

from mesh.errors import InvalidArgument, PermissionDenied, Refused, Transient
from mesh.identity.refusal import refuse
from mesh.identity.spiffe import workload_of
from mesh.xds.catalogue import Endpoint, Method
from mesh.xds.measured import Measurements
from mesh.xds.publisher import Publisher
from mesh.xds.states import DRAINING, FAILING, READY
from mesh.xds.together import until_one_ends
from meshapi.v1 import registry_pb2 as pb

__all__ = ["Registration", "Registry", "RegistryService"]

_log = logging.getLogger(__name__)

_SWEEP_S = 0.25
_FIRST_MESSAGE_S = 5.0
_MAX_METHODS = 500
_METHOD = re.compile(r"/[\w.]{1,200}/\w{1,100}")
_INSTANCE = re.compile(r"[\w.:-]{1,100}")


@dataclass(eq=False)
class Registration:
    """An instance's lease: an open stream, and its last beat on the monotonic clock."""

    service: str
    instance_id: str
    version: str
    state: pb.InstanceState.ValueType
    beat_at: float
    told: pb.RegisterResponse | None = None
    acknowledged: pb.InstanceState.ValueType = pb.INSTANCE_STATE_UNSPECIFIED
    lost: bool = False
    wake: asyncio.Event = field(default_factory=asyncio.Event)


class Registry:
    """The leases of all instances."""

    def __init__(
        self, publisher: Publisher, lease_ttl_s: float, measurements: Measurements
    ) -> None:
        self._measurements = measurements
        self._measurements.on_want.append(self._wake)
        self._publisher = publisher
        self._catalogue = publisher.catalogue
        self._ttl_s = lease_ttl_s
        self._leases: dict[tuple[str, str], Registration] = {}
        self._closed = False
        publisher.on_publish.append(self._acknowledge)
        publisher.on_answer.append(self._acknowledge)

    def open(self, workload: str, request: pb.RegisterRequest) -> Registration:
        """Registers an instance of a workload. An older lease of the same instance is void.

        Raises `PermissionDenied` when the instance is of another service than the caller, and
        `InvalidArgument` when it makes no sense.
        """
        instance = request.instance
        if instance.service != workload:
            raise PermissionDenied(
                "SERVICE_NOT_YOURS", f"Workload {workload!r} may register itself only."
            )
        endpoint = _endpoint(instance)
        self._catalogue.put(workload, endpoint, _methods(request.methods))
        lease = Registration(
            workload, endpoint.instance_id, endpoint.version, instance.state, time.monotonic()
        )
        key = (workload, endpoint.instance_id)
        if before := self._leases.get(key):
            _lose(before)
        self._leases[key] = lease
        _log.info("instance registered", extra=_about(lease, endpoint))
        return lease

    def beat(self, lease: Registration, request: pb.RegisterRequest) -> None:
        """Takes a heartbeat in, or a change of state.

        Raises `InvalidArgument` for a change of anything else than the state.
        """
        lease.beat_at = time.monotonic()
        if request.HasField("measured") and not lease.lost:
            self._measurements.take(
                lease.service, lease.instance_id, lease.version, request.measured
            )
        if lease.lost or not request.HasField("instance"):
            return
        instance = request.instance
        if (instance.service, instance.instance_id) != (lease.service, lease.instance_id):
            raise InvalidArgument("INSTANCE_CHANGED", "A lease holds one instance to its end.")
        endpoint = _endpoint(instance)
        if instance.state != lease.state:
            lease.state = instance.state
            self._catalogue.put(lease.service, endpoint)
            _log.info("instance changed its state", extra=_about(lease, endpoint))

    def close(self, lease: Registration) -> None:
        """Ends a lease. A void one, or one that ends with the control plane, changes nothing."""
        key = (lease.service, lease.instance_id)
        if self._closed or self._leases.get(key) is not lease:
            return
        del self._leases[key]
        self._measurements.forget(lease.instance_id)
        self._catalogue.release(lease.service, lease.instance_id, time.monotonic())
        _log.info("instance left", extra=_about(lease))

    def stop(self) -> None:
        """Leaves the catalogue as it is from now on: the instances live on, only we end."""
        self._closed = True

    def instances(self, service: str = "") -> Iterable[pb.Instance]:
        """Lists the instances, in order of service and id."""
        for name, known in sorted(self._catalogue.services.items()):
            if service in ("", name):
                for _, endpoint in sorted(known.endpoints.items()):
                    yield pb.Instance(
                        service=name,
                        instance_id=endpoint.instance_id,
                        address=_join(endpoint),
                        version=endpoint.version,
                        zone=endpoint.zone,
                        pid=endpoint.pid,
                        state=_state_of(endpoint),
                    )

    async def sweep(self) -> None:
        """Withdraws those who are silent for too long, for as long as it runs."""
        before = time.monotonic()
        while True:
            await asyncio.sleep(_SWEEP_S)
            now = time.monotonic()
            # We were frozen ourselves: the beats that we did not read were not missed.
            frozen_s = max(0.0, now - before - 2 * _SWEEP_S)
            before = now
            for lease in list(self._leases.values()):
                lease.beat_at += frozen_s
                if now - lease.beat_at > self._ttl_s:
                    _log.warning("instance is silent", extra=_about(lease))
                    self.close(lease)
                    _lose(lease)
            for service, instance_id in self._catalogue.sweep(now):
                _log.warning(
                    "instance did not return",
                    extra={"mesh_service": service, "instance_id": instance_id},
                )

    def answer_to(self, lease: Registration) -> pb.RegisterResponse:
        """Makes what the instance of a lease is told now."""
        wanted = self._measurements.wanted_of(lease.service)
        return pb.RegisterResponse(
            acknowledged_state=lease.acknowledged,
            wants_latency=wanted.latency,
            wanted_metrics=sorted(wanted.metrics),
        )

    def _wake(self) -> None:
        for lease in self._leases.values():
            lease.wake.set()

    def _acknowledge(self) -> None:
        for lease in self._leases.values():
            if lease.acknowledged != lease.state and self._publisher.has_settled(lease.service):
                lease.acknowledged = lease.state
                lease.wake.set()


class RegistryService:
    """The servicer. Its handlers are coroutines that write, so that their ends are certain."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def handler(self) -> grpc.GenericRpcHandler:
        """Makes what a server is given."""
        return grpc.method_handlers_generic_handler(
            pb.DESCRIPTOR.services_by_name["RegistryService"].full_name,
            {
                "Register": grpc.stream_stream_rpc_method_handler(
                    self._register,
                    request_deserializer=pb.RegisterRequest.FromString,
                    response_serializer=pb.RegisterResponse.SerializeToString,
                ),
                "ListInstances": grpc.unary_unary_rpc_method_handler(
                    self._list_instances,
                    request_deserializer=pb.ListInstancesRequest.FromString,
                    response_serializer=pb.ListInstancesResponse.SerializeToString,
                ),
            },
        )

    async def _register(
        self,
        requests: AsyncIterator[pb.RegisterRequest],
        context: grpc.aio.ServicerContext[pb.RegisterRequest, pb.RegisterResponse],
    ) -> None:
        try:
            workload = workload_of(context)
            async with asyncio.timeout(_FIRST_MESSAGE_S):
                first = await anext(requests, pb.RegisterRequest())
            lease = self._registry.open(workload, first)
        except Refused as error:
            _log.warning("registration refused: %s", error.message)
            await refuse(context, error)
        except TimeoutError:
            await refuse(context, Transient("NOBODY_REGISTERED", "No instance was named in time."))
        try:
            await until_one_ends(self._listen(lease, requests), self._tell(lease, context))
        except (Refused, Transient) as error:
            await refuse(context, error)
        finally:
            self._registry.close(lease)

    async def _listen(
        self, lease: Registration, requests: AsyncIterator[pb.RegisterRequest]
    ) -> None:
        async for request in requests:
            self._registry.beat(lease, request)

    async def _tell(
        self,
        lease: Registration,
        context: grpc.aio.ServicerContext[pb.RegisterRequest, pb.RegisterResponse],
    ) -> None:
        # The first answer comes at once, and says that the instance is registered.
        while not lease.lost:
            answer = self._registry.answer_to(lease)
            if lease.told != answer:
                lease.told = answer
                await context.write(answer)
            await lease.wake.wait()
            lease.wake.clear()
        raise Transient("LEASE_LOST", "The lease was silent for too long, or has a successor.")

    async def _list_instances(
        self, request: pb.ListInstancesRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> pb.ListInstancesResponse:
        try:
            workload_of(context)
        except Refused as error:
            await refuse(context, error)
        return pb.ListInstancesResponse(instances=self._registry.instances(request.service))


def _lose(lease: Registration) -> None:
    lease.lost = True
    lease.wake.set()


def _endpoint(instance: pb.Instance) -> Endpoint:
    host, _, port = instance.address.rpartition(":")
    try:
        host = str(ipaddress.ip_address(host.strip("[]")))
        number = int(port)
    except ValueError as error:
        raise InvalidArgument("ADDRESS_INVALID", "An address is `ip:port`.") from error
    if not 0 < number < 65_536:
        raise InvalidArgument("ADDRESS_INVALID", "A port is between 1 and 65535.")
    if not _INSTANCE.fullmatch(instance.instance_id):
        raise InvalidArgument("INSTANCE_ID_INVALID", "An instance id has 1 to 100 plain letters.")
    if instance.state not in (READY, DRAINING, FAILING):
        raise InvalidArgument("STATE_INVALID", "An instance is ready, or it fails, or it drains.")
    return Endpoint(
        instance_id=instance.instance_id,
        host=host,
        port=number,
        version=instance.version,
        zone=instance.zone,
        pid=instance.pid,
        draining=instance.state == DRAINING,
        failing=instance.state == FAILING,
    )


def _state_of(endpoint: Endpoint) -> pb.InstanceState.ValueType:
    if endpoint.draining:
        return DRAINING
    return FAILING if endpoint.failing else READY


def _methods(routes: Iterable[pb.MethodRoute]) -> tuple[Method, ...]:
    by_path = {
        route.path: Method(
            path=route.path, retriable=route.retriable, no_side_effects=route.no_side_effects
        )
        for route in routes
    }
    if len(by_path) > _MAX_METHODS or not all(_METHOD.fullmatch(path) for path in by_path):
        raise InvalidArgument("METHODS_INVALID", "A method is `/package.Service/Method`.")
    return tuple(by_path.values())


def _join(endpoint: Endpoint) -> str:
    host = f"[{endpoint.host}]" if ":" in endpoint.host else endpoint.host
    return f"{host}:{endpoint.port}"


def _about(lease: Registration, endpoint: Endpoint | None = None) -> dict[str, object]:
    about: dict[str, object] = {
        "mesh_service": lease.service,
        "instance_id": lease.instance_id,
        "state": pb.InstanceState.Name(lease.state),
    }
    if endpoint is not None:
        about["address"] = _join(endpoint)
    return about
