"""How a process stays registered: a stream to the control plane that beats once a second.

Source of the pauses: full jitter (AWS Architecture Blog, "Exponential Backoff And Jitter").
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Sequence
from typing import TypeAlias

import grpc

from mesh.xds.together import until_one_ends
from meshapi.v1 import registry_pb2 as pb
from meshapi.v1.registry_pb2_grpc import RegistryServiceStub

__all__ = ["Lease"]

_log = logging.getLogger(__name__)

_BEAT_S = 1.0
_ANSWER_TIMEOUT_S = 3.0
_FIRST_PAUSE_S = 0.05
_LAST_PAUSE_S = 0.8
_OPTIONS = (
    # Notices a control plane that is frozen; the timeout alone would not do (gRFC A8).
    ("grpc.keepalive_time_ms", 2_000),
    ("grpc.keepalive_timeout_ms", 3_000),
    ("grpc.http2.ping_timeout_ms", 3_000),
    ("grpc.http2.max_pings_without_data", 0),
    # Each try is a new connection; the pauses are ours.
    ("grpc.use_local_subchannel_pool", 1),
)

_Stream: TypeAlias = "grpc.aio.StreamStreamCall[pb.RegisterRequest, pb.RegisterResponse]"

_READY = pb.INSTANCE_STATE_READY
_DRAINING = pb.INSTANCE_STATE_DRAINING


class Lease:
    """Keeps one instance registered. `credentials` is asked for each new connection.

    `problem` says in words what is in the way, and is empty when nothing is.
    """

    def __init__(self, address: str, credentials: Callable[[], grpc.ChannelCredentials]) -> None:
        self.problem = "not registered yet"
        self._address = address
        self._credentials = credentials
        self._draining = asyncio.Event()
        self._drained = asyncio.Event()
        self._registered = asyncio.Event()

    @property
    def registered(self) -> bool:
        """Whether the control plane holds the instance now."""
        return self._registered.is_set()

    async def until_registered(self) -> None:
        """Waits until the control plane holds the instance."""
        await self._registered.wait()

    async def keep(self, instance: pb.Instance, methods: Sequence[pb.MethodRoute]) -> None:
        """Registers an instance, and registers it again whenever the stream ends, for ever.

        Cancel it to withdraw the instance.
        """
        pause = _FIRST_PAUSE_S
        while True:
            try:
                await self._hold(instance, methods)
                problem = "the control plane ended the stream"
            except grpc.aio.AioRpcError as error:
                problem = f"{error.code().name}: {error.details()}"
            except (TimeoutError, asyncio.InvalidStateError):
                # The second is what a beat meets that comes after the end of the stream.
                problem = "the control plane does not answer"
            if self.registered:
                pause = _FIRST_PAUSE_S
            self._registered.clear()
            if problem != self.problem:
                _log.warning("not registered: %s", problem)
            self.problem = problem
            await asyncio.sleep(random.uniform(0.0, pause))  # noqa: S311
            pause = min(pause * 2, _LAST_PAUSE_S)

    async def drain(self, timeout_s: float) -> bool:
        """Takes the instance out of use, and waits until every client knows.

        Returns whether they do; false means that the time ran out. Clients may still
        have calls on their way: stop serving when it has been quiet for a moment.
        """
        self._draining.set()
        try:
            async with asyncio.timeout(timeout_s):
                await self._drained.wait()
        except TimeoutError:
            return False
        return True

    async def _hold(self, instance: pb.Instance, methods: Sequence[pb.MethodRoute]) -> None:
        async with grpc.aio.secure_channel(
            self._address, self._credentials(), options=_OPTIONS
        ) as channel:
            call = RegistryServiceStub(channel).Register()
            async with asyncio.timeout(_ANSWER_TIMEOUT_S):
                await call.write(
                    pb.RegisterRequest(instance=self._as_now(instance), methods=methods)
                )
                if not await self._hear_once(call):
                    return
            self._registered.set()
            self.problem = ""
            _log.info("registered", extra={"instance_id": instance.instance_id})
            await until_one_ends(self._hear(call), self._beat(call, instance))

    async def _hear(self, call: _Stream) -> None:
        while await self._hear_once(call):
            pass

    async def _hear_once(self, call: _Stream) -> bool:
        """Takes one answer in. Tells whether there was one; the first says that we are in."""
        answer = await call.read()
        if not isinstance(answer, pb.RegisterResponse):
            return False
        if answer.acknowledged_state == _DRAINING:
            self._drained.set()
        return True

    async def _beat(
        self,
        call: _Stream,
        instance: pb.Instance,
    ) -> None:
        told_draining = self._draining.is_set()
        while True:
            request = pb.RegisterRequest()
            if told_draining:
                await asyncio.sleep(_BEAT_S)
            else:
                told_draining = await self._told_to_drain()
                if told_draining:
                    request.instance.CopyFrom(self._as_now(instance))
            async with asyncio.timeout(_ANSWER_TIMEOUT_S):
                await call.write(request)

    async def _told_to_drain(self) -> bool:
        try:
            async with asyncio.timeout(_BEAT_S):
                await self._draining.wait()
        except TimeoutError:
            return False
        return True

    def _as_now(self, instance: pb.Instance) -> pb.Instance:
        now = pb.Instance()
        now.CopyFrom(instance)
        now.state = _DRAINING if self._draining.is_set() else _READY
        return now
