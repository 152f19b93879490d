"""How a process stays registered: a stream to the control plane that beats once a second.

Source of the pauses: full jitter (AWS Architecture Blog, "Exponential Backoff And Jitter").
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import Callable, Sequence
from typing import TypeAlias

import grpc

from mesh.xds.states import DRAINING, FAILING, READY, State
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


class Lease:
    """Keeps one instance registered. `credentials` is asked for each new connection, and
    `server_name` is what the certificate must name where that is not the host of `address`;
    `measure` gives what the control plane wants to be told of the instance with each beat.

    `problem` says in words what is in the way, and is empty when nothing is.
    """

    def __init__(
        self,
        address: str,
        credentials: Callable[[], grpc.ChannelCredentials],
        server_name: str = "",
        measure: Callable[[pb.RegisterResponse], pb.Measured] | None = None,
    ) -> None:
        self.problem = "not registered yet"
        self.address = address
        self.server_name = server_name
        self._credentials = credentials
        named = ("grpc.ssl_target_name_override", server_name)
        self._options = (*_OPTIONS, named) if server_name else _OPTIONS
        self._measure = measure
        self._wanted = pb.RegisterResponse()
        self._state: State = READY
        self._changed = asyncio.Event()
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

    def judge(self, *, failing: bool) -> None:
        """Says whether the instance fails too many calls. One that drains goes on draining."""
        if self._state != DRAINING:
            self._become(FAILING if failing else READY)

    async def drain(self, timeout_s: float) -> bool:
        """Takes the instance out of use, and waits until every client knows.

        Returns whether they do; false means that the time ran out. Clients may still
        have calls on their way: stop serving when it has been quiet for a moment.
        """
        self._become(DRAINING)
        try:
            async with asyncio.timeout(timeout_s):
                await self._drained.wait()
        except TimeoutError:
            return False
        return True

    async def _hold(self, instance: pb.Instance, methods: Sequence[pb.MethodRoute]) -> None:
        async with grpc.aio.secure_channel(
            self.address, self._credentials(), options=self._options
        ) as channel:
            call = RegistryServiceStub(channel).Register()
            first = self._as_now(instance)
            async with asyncio.timeout(_ANSWER_TIMEOUT_S):
                await call.write(pb.RegisterRequest(instance=first, methods=methods))
                if not await self._hear_once(call):
                    return
            self._registered.set()
            self.problem = ""
            _log.info("registered", extra={"instance_id": instance.instance_id})
            await until_one_ends(self._hear(call), self._beat(call, first))

    async def _hear(self, call: _Stream) -> None:
        while await self._hear_once(call):
            pass

    async def _hear_once(self, call: _Stream) -> bool:
        """Takes one answer in. Tells whether there was one; the first says that we are in."""
        answer = await call.read()
        if not isinstance(answer, pb.RegisterResponse):
            return False
        self._wanted = answer
        if answer.acknowledged_state == DRAINING:
            self._drained.set()
        return True

    async def _beat(self, call: _Stream, told: pb.Instance) -> None:
        while True:
            request = pb.RegisterRequest()
            if told.state == self._state:
                await self._change_within(_BEAT_S)
            if told.state != self._state:
                told = self._as_now(told)
                request.instance.CopyFrom(told)
            wanted = self._wanted
            if self._measure and (wanted.wants_latency or wanted.wanted_metrics):
                request.measured.CopyFrom(self._measure(wanted))
            async with asyncio.timeout(_ANSWER_TIMEOUT_S):
                await call.write(request)

    async def _change_within(self, seconds: float) -> None:
        self._changed.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._changed.wait()

    def _become(self, state: State) -> None:
        self._state = state
        self._changed.set()

    def _as_now(self, instance: pb.Instance) -> pb.Instance:
        now = pb.Instance()
        now.CopyFrom(instance)
        now.state = self._state
        return now
