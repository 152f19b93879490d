"""How long a change takes to reach many clients, and what a snapshot of many services costs.

`python -m benchmarks.xds_clients [clients] [services]`: a control plane process; so many discovery
streams, each on a connection of its own with mutual TLS, that follow one service; and an instance
of it that comes and goes. Then, without any process: the resources of so many services.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from pathlib import Path
from statistics import median, quantiles

import grpc
from envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment
from envoy.service.discovery.v3.discovery_pb2 import DiscoveryRequest, DiscoveryResponse

from mesh.identity.files import issue_files
from mesh.xds.catalogue import Endpoint, Method
from mesh.xds.lease import Lease
from mesh.xds.publisher import Publisher
from mesh.xds.resources import CDS, EDS, LDS, RDS
from mesh.xds.tests.processes import Mesh
from meshapi.v1 import registry_pb2 as pb

_STREAM = "/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources"
_OPTIONS = (("grpc.use_local_subchannel_pool", 1),)
_SERVICE = "echo"
_METHODS = (pb.MethodRoute(path="/mesh.test.v1.EchoService/Get", retriable=True),)
_WARM_ROUNDS = 1


class Follower:
    """A client that accepts everything, and notes when it last learnt of so many endpoints."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.endpoints = -1
        self.at = 0.0
        self.changed = asyncio.Event()

    async def follow(self, address: str, credentials: grpc.ChannelCredentials) -> None:
        """Follows the service for ever."""
        async with grpc.aio.secure_channel(address, credentials, options=_OPTIONS) as channel:
            method = channel.stream_stream(
                _STREAM,
                request_serializer=DiscoveryRequest.SerializeToString,
                response_deserializer=DiscoveryResponse.FromString,
            )
            call = method()
            for type_url in (LDS, RDS, CDS, EDS):
                await call.write(self._request(type_url))
            while True:
                answer = await call.read()
                if not isinstance(answer, DiscoveryResponse):
                    raise RuntimeError("the control plane ended the stream")
                if answer.type_url == EDS:
                    self._note(answer)
                await call.write(self._request(answer.type_url, answer))

    def _note(self, answer: DiscoveryResponse) -> None:
        assignment = ClusterLoadAssignment.FromString(answer.resources[0].value)
        self.endpoints = sum(len(group.lb_endpoints) for group in assignment.endpoints)
        self.at = time.perf_counter()
        self.changed.set()

    def _request(self, type_url: str, seen: DiscoveryResponse | None = None) -> DiscoveryRequest:
        request = DiscoveryRequest(type_url=type_url, resource_names=[_SERVICE])
        request.node.id = f"follower-{self.number}"
        if seen is not None:
            request.version_info, request.response_nonce = seen.version_info, seen.nonce
        return request

    async def until(self, endpoints: int) -> float:
        """Waits until it knows of so many endpoints; gives the moment at which it learnt."""
        while self.endpoints != endpoints:
            self.changed.clear()
            await self.changed.wait()
        return self.at


async def changes(clients: int, rounds: int, root: Path) -> list[float]:
    """Gives the seconds that each client took to learn of each of so many changes."""
    async with Mesh(root) as mesh:
        await mesh.start_plane()
        credentials = _credentials(mesh, "follower")
        address = mesh.control_plane
        followers = [Follower(number) for number in range(clients)]
        following = [asyncio.create_task(f.follow(address, credentials)) for f in followers]
        server = _credentials(mesh, _SERVICE)
        first = asyncio.create_task(_lease(address, server, "first", 1))
        took: list[float] = []
        try:
            await asyncio.gather(*(follower.until(1) for follower in followers))
            for number in range(rounds + _WARM_ROUNDS):
                began = time.perf_counter()
                second = asyncio.create_task(_lease(address, server, f"second-{number}", 2))
                moments = [await follower.until(2) for follower in followers]
                if number >= _WARM_ROUNDS:
                    took += [moment - began for moment in moments]
                second.cancel()
                await asyncio.gather(second, return_exceptions=True)
                await asyncio.gather(*(follower.until(1) for follower in followers))
        finally:
            for task in (first, *following):
                task.cancel()
            await asyncio.gather(first, *following, return_exceptions=True)
        return took


def _credentials(mesh: Mesh, workload: str) -> grpc.ChannelCredentials:
    files = mesh.root / f"{workload}-files"
    issue_files(mesh.data_dir, workload, files, control_plane=mesh.control_plane)
    parts = [(files / name).read_bytes() for name in ("bundle.pem", "key.pem", "cert.pem")]
    return grpc.ssl_channel_credentials(*parts)


async def _lease(
    address: str, credentials: grpc.ChannelCredentials, instance_id: str, port: int
) -> None:
    instance = pb.Instance(
        service=_SERVICE, instance_id=instance_id, address=f"127.0.0.1:{port}", version="1"
    )
    await Lease(address, lambda: credentials).keep(instance, _METHODS)


async def snapshot(services: int) -> tuple[float, float]:
    """Gives the seconds to derive all resources, and those to derive them after one change."""
    publisher = Publisher(last_instance_grace_s=5.0)
    methods = tuple(Method(path=f"/a.B/M{n}", retriable=n % 2 == 0) for n in range(8))
    for service in range(services):
        for number in range(3):
            name = f"{service}-{number}"
            endpoint = Endpoint(instance_id=name, host="10.0.0.1", port=number + 1, version="1")
            publisher.catalogue.put(f"service-{service}", endpoint, methods)
    began = time.perf_counter()
    publisher.publish()
    whole_s = time.perf_counter() - began
    again = Endpoint(instance_id="0-9", host="10.0.0.1", port=99, version="1")
    publisher.catalogue.put("service-0", again)
    began = time.perf_counter()
    publisher.publish()
    return whole_s, time.perf_counter() - began


def main() -> None:
    """Prints the percentiles in milliseconds."""
    clients = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    services = int(sys.argv[2]) if len(sys.argv) > 2 else 1_000
    with tempfile.TemporaryDirectory() as root:
        took = asyncio.run(changes(clients, 10, Path(root)))
    p99 = quantiles(took, n=100)[-1]
    print(
        f"{clients} clients learn of an endpoint: p50 {median(took) * 1e3:.1f} ms, "
        f"p99 {p99 * 1e3:.1f} ms, max {max(took) * 1e3:.1f} ms"
    )
    whole_s, one_s = asyncio.run(snapshot(services))
    print(
        f"{services} services of 3 instances and 8 methods: all resources in {whole_s:.3f} s, "
        f"after a change of one in {one_s * 1e3:.2f} ms"
    )


if __name__ == "__main__":
    main()
