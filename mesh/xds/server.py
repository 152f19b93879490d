"""The aggregated discovery service (ADS, xDS v3, state of the world)."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator

import grpc
from envoy.service.discovery.v3.discovery_pb2 import DiscoveryRequest, DiscoveryResponse

from mesh.errors import Refused
from mesh.identity.refusal import refuse
from mesh.identity.spiffe import workload_of
from mesh.xds.publisher import Publisher
from mesh.xds.subscription import Client
from mesh.xds.together import until_one_ends

__all__ = ["DiscoveryService"]

_log = logging.getLogger(__name__)

_SERVICE = "envoy.service.discovery.v3.AggregatedDiscoveryService"


class DiscoveryService:
    """The servicer: one stream per client, and who it is comes from its certificate."""

    def __init__(self, publisher: Publisher) -> None:
        self._publisher = publisher

    def handler(self) -> grpc.GenericRpcHandler:
        """Makes what a server is given."""
        return grpc.method_handlers_generic_handler(
            _SERVICE,
            {
                "StreamAggregatedResources": grpc.stream_stream_rpc_method_handler(
                    self._stream,
                    request_deserializer=DiscoveryRequest.FromString,
                    response_serializer=DiscoveryResponse.SerializeToString,
                )
            },
        )

    async def _stream(
        self,
        requests: AsyncIterator[DiscoveryRequest],
        context: grpc.aio.ServicerContext[DiscoveryRequest, DiscoveryResponse],
    ) -> None:
        try:
            client = Client(workload_of(context), context.peer())
        except Refused as error:
            await refuse(context, error)
        wake = self._publisher.join(client)
        try:
            await until_one_ends(
                self._listen(client, requests, wake), self._tell(client, context, wake)
            )
        except Refused as error:
            await refuse(context, error)
        finally:
            self._publisher.leave(client)

    async def _listen(
        self, client: Client, requests: AsyncIterator[DiscoveryRequest], wake: asyncio.Event
    ) -> None:
        async for request in requests:
            subscription = client.receive(request)
            self._publisher.serve_zone(client.zone)
            if subscription is None:
                continue
            if request.HasField("error_detail"):
                self._publisher.refusals += 1
                _log.error(
                    "client refuses resources: %s",
                    subscription.refusal,
                    extra={
                        "client": client.workload,
                        "node": client.node_id,
                        "type": request.type_url,
                        "version": subscription.version_sent,
                    },
                )
            wake.set()
            self._publisher.answered()

    async def _tell(
        self,
        client: Client,
        context: grpc.aio.ServicerContext[DiscoveryRequest, DiscoveryResponse],
        wake: asyncio.Event,
    ) -> None:
        while True:
            await wake.wait()
            wake.clear()
            for answer in client.answers(self._publisher.snapshot):
                await context.write(answer)
