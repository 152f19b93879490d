"""Copies calls to another version or service, because gRPC's core does not (gRFC A28).

Which calls, the operator's policy says; it comes with the routes of a service (`mesh.xds.routes`).
A copy waits for nobody and nobody waits for it: it is taken off a short queue, has a deadline of
its own, a trace of its own with a link to the call's, and what becomes of it is only counted.
Where the queue is full, a copy is dropped. As long as nothing is copied, calls pay nothing.

Only calls whose contract says NO_SIDE_EFFECTS are copied, and what the policy names besides goes to
another service, never to another version of the same one: it would change the same data again.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import grpc
import grpc.aio
from google.protobuf.message import Message

from mesh.errors import Error
from mesh.rpc.ask import Ask, Metadata, Trailer
from mesh.rpc.policy import MethodPolicy
from mesh.rpc.status import code_of
from observability import logs, metrics, semconv, tracing

__all__ = ["MIRRORED_HEADER", "MirrorRule", "Mirrors"]

#: What a copy carries, with the value `1`. A route of the mesh looks for it.
MIRRORED_HEADER = "x-mesh-mirrored"

_MOST_WAITING = 128
_WORKERS = 8
_DROPPED = "DROPPED"
_NOT_COPIED = frozenset({"traceparent", "mesh-repeat"})

log = logs.get_logger(__name__)


@dataclass(frozen=True)
class MirrorRule:
    """What of one service's calls is copied: so many percent, of these paths (empty: of all that
    change nothing), to another service ("": to another version of the same one).
    """

    percent: float
    paths: frozenset[str] = frozenset()
    service: str = ""

    def copies(self, policy: MethodPolicy) -> bool:
        """Tells whether calls of a method are copied, as far as its contract lets them be."""
        if policy.path in self.paths:
            return policy.changes_nothing or bool(self.service)
        return policy.changes_nothing and not self.paths


@dataclass(frozen=True, slots=True)
class _Copy:
    service: str
    path: str
    body: bytes
    metadata: Metadata
    timeout_s: float


class Mirrors:
    """What a process copies. `connect` gives the channel to a service. `run` makes the copies, for
    as long as it runs.
    """

    def __init__(self, connect: Callable[[str], grpc.aio.Channel]) -> None:
        self._connect = connect
        self._rules: Mapping[str, MirrorRule] = {}
        self._queue: asyncio.Queue[_Copy] = asyncio.Queue(_MOST_WAITING)
        self._bound: dict[str, list[Callable[[], None]]] = {}

    def follow(self, rules: Mapping[str, MirrorRule]) -> None:
        """Copies by these rules, by service, from now on."""
        before, self._rules = self._rules, rules
        for service in before.keys() | rules.keys():
            if before.get(service) != rules.get(service):
                for rebind in self._bound.get(service, ()):
                    rebind()

    def watch(self, service: str, rebind: Callable[[], None]) -> None:
        """Has a method bind itself anew (`around`) whenever the rule of its service changes."""
        self._bound.setdefault(service, []).append(rebind)

    def around(self, service: str, policy: MethodPolicy, ask: Ask) -> Ask:
        """Gives a method of a service with copies, where a rule says so; else as it is."""
        rule = self._rules.get(service)
        if rule is None or not rule.copies(policy):
            return ask
        return _Copying(self._queue, rule, rule.service or service, policy, ask).ask

    async def run(self) -> None:
        """Makes the copies, for ever."""
        async with asyncio.TaskGroup() as group:
            for _ in range(_WORKERS):
                group.create_task(self._work())

    async def _work(self) -> None:
        while True:
            copy = await self._queue.get()
            method = copy.path.removeprefix("/")
            try:
                code = await self._make(method, copy)
            except Exception:
                log.exception("a copy of a call met a bug", extra={"rpc.method": method})
                code = grpc.StatusCode.UNKNOWN.name
            metrics.MIRRORED_CALLS.add(1, method, copy.service, code)

    async def _make(self, method: str, copy: _Copy) -> str:
        with _span(method, copy) as span:
            own = tracing.format_traceparent(span.get_span_context())
            metadata = [each for each in copy.metadata if each[0] not in _NOT_COPIED]
            metadata.append((MIRRORED_HEADER, "1"))
            if own:
                metadata.append(("traceparent", own))
            code = await self._call(copy, tuple(metadata))
            span.set_attribute(semconv.RPC_STATUS_CODE, code)
            return code

    async def _call(self, copy: _Copy, metadata: Metadata) -> str:
        try:
            call: Any = self._connect(copy.service).unary_unary(copy.path)
            await call(copy.body, timeout=copy.timeout_s, metadata=metadata)
        except grpc.aio.AioRpcError as error:
            return error.code().name
        except (Error, grpc.aio.UsageError) as error:
            return code_of(error).name
        return grpc.StatusCode.OK.name


class _Copying:
    def __init__(
        self, queue: asyncio.Queue[_Copy], rule: MirrorRule, to: str, policy: MethodPolicy, ask: Ask
    ) -> None:
        self._queue = queue
        self._share = rule.percent / 100
        self._to = to
        self._policy = policy
        self._ask = ask

    async def ask(
        self, request: Message, timeout_s: float, metadata: Metadata, wants_trailer: bool
    ) -> tuple[Any, Trailer]:
        if random.random() < self._share:  # noqa: S311
            self._copy(request, metadata)
        return await self._ask(request, timeout_s, metadata, wants_trailer)

    def _copy(self, request: Message, metadata: Metadata) -> None:
        path, limit = self._policy.path, self._policy.timeout_s
        try:
            self._queue.put_nowait(
                _Copy(self._to, path, request.SerializeToString(), metadata, limit)
            )
        except asyncio.QueueFull:
            metrics.MIRRORED_CALLS.add(1, path.removeprefix("/"), self._to, _DROPPED)


@contextmanager
def _span(method: str, copy: _Copy) -> Iterator[tracing.Span]:
    origin = tracing.parse(dict(copy.metadata).get("traceparent"))
    facts = {
        semconv.RPC_SYSTEM_NAME: "grpc",
        semconv.RPC_METHOD: method,
        semconv.SERVICE_PEER_NAME: copy.service,
        "mesh.mirrored": True,
    }
    links = [origin] if origin is not None else []
    span = tracing.start_span(method, tracing.SpanKind.CLIENT, facts, parent=None, links=links)
    try:
        yield span
    finally:
        span.end()
