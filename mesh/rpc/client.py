"""The client's half of a call. Each method of a stub is wrapped once, when the stub is made.

A wrapped method is awaited and gives the response, or raises the error that the server raised.
The deadline is always set, and shrinks from hop to hop. Nothing is repeated here: the mesh repeats
what the contract calls idempotent (route policy by xDS), within the budget kept here, and sagas
repeat their steps.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias, TypeVar, cast
from urllib.parse import quote

import grpc
import grpc.aio
from google.protobuf.message import Message

from mesh.errors import DeadlineExceeded, InvalidArgument, Overloaded, Refused, Transient
from mesh.rpc.ask import Ask, Metadata, Trailer, ask_on
from mesh.rpc.budget import REPEAT_HEADER, REPEAT_NO, RetryBudget
from mesh.rpc.consistency import AFTER_KEY, TOKEN_KEY, read_token
from mesh.rpc.context import REASON_KEY, REPLAYED_KEY, Outgoing, current
from mesh.rpc.mirror import Mirrors
from mesh.rpc.policy import MethodPolicy, method_of, policy_of
from mesh.rpc.record import ClientRecord
from mesh.rpc.server import MAX_MESSAGE_BYTES
from mesh.rpc.throttle import Throttle
from mesh.rpc.unary import TOO_LATE_S
from observability import tracing
from observability.spans import RecordedSpan

__all__ = ["CHANNEL_OPTIONS", "Channels", "make_stub"]

S = TypeVar("S")

# What is kept for the way back when a deadline is handed on. The core sends deadlines rounded up,
# by as much as three in a hundred: a part must be kept too, or a long deadline would not shrink.
HOP_S = 0.020
HOP_PART = 0.04

_NOT_AGAIN = (REPEAT_HEADER, REPEAT_NO)

CHANNEL_OPTIONS: Sequence[tuple[str, int]] = (
    ("grpc.max_receive_message_length", 4 * MAX_MESSAGE_BYTES),
    # A frozen peer is noticed only with both of these.
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.http2.ping_timeout_ms", 3_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 2_000),
)

Connect: TypeAlias = Callable[[str], grpc.aio.Channel]
Bind: TypeAlias = Callable[[], Any]


class Channels:
    """The channels of a process: one for each service it asks, made when it first asks.

    `connect` makes one for a service's name. Until it is given every call is `Transient`.
    """

    def __init__(self, connect: Connect | None = None, *, scheme: str = "xds:///") -> None:
        self.scheme = scheme
        self._connect = connect
        self._channels: dict[str, grpc.aio.Channel] = {}
        self._restraints: dict[str, tuple[RetryBudget, Throttle]] = {}
        self._wanted: set[str] = set()
        self.mirrors = Mirrors(self.to)

    def join(self, connect: Connect) -> None:
        """Says how channels are made from now on, and begins to connect those that are wanted."""
        self._connect = connect
        for service in self._wanted:
            self.to(service).get_state(try_to_connect=True)

    def want(self, service: str) -> None:
        """Says that the service will be asked."""
        self._wanted.add(service)

    def to(self, service: str) -> grpc.aio.Channel:
        """Gives the channel to a service. Raises `Transient` before the mesh is joined."""
        channel = self._channels.get(service)
        if channel is None:
            if self._connect is None:
                raise Transient("MESH_NOT_JOINED", "The process has no identity in the mesh yet.")
            channel = self._channels[service] = self._connect(service)
        return channel

    def restraint(self, service: str) -> tuple[RetryBudget, Throttle]:
        """Gives what holds calls to a service back; all its stubs share it."""
        return self._restraints.setdefault(service, (RetryBudget(), Throttle()))

    async def close(self) -> None:
        """Closes every channel; calls that run are cancelled."""
        channels, self._channels = self._channels, {}
        for channel in channels.values():
            await channel.close()


def make_stub(stub_class: Callable[[grpc.aio.Channel], S], service: str, channels: Channels) -> S:
    """Makes a stub of a generated class whose methods ask a service by its name in the mesh."""
    channels.want(service)
    return stub_class(cast(grpc.aio.Channel, _StubChannel(service, channels)))


class UnaryMethod:
    """A method of a stub: `await method(request)` gives the response.

    `timeout` (seconds) can only shorten what the contract and the caller's deadline allow. Raises
    what the server raised (`mesh.errors`); `DeadlineExceeded` with too little time left to ask.
    """

    __slots__ = ("_bind", "_bound", "budget", "policy", "record", "throttle")

    def __init__(
        self,
        policy: MethodPolicy,
        record: ClientRecord,
        restraint: tuple[RetryBudget, Throttle],
        bind: Callable[[], Ask],
    ) -> None:
        self.policy = policy
        self.record = record
        self.budget, self.throttle = restraint
        self._bind = bind
        self._bound: Ask | None = None

    # The parameter is named as in the generated types of stubs.
    async def __call__(self, request: Message, *, timeout: float | None = None) -> Any:  # noqa: ASYNC109
        out = current.get()
        limit = time_to_ask(self.policy, out, timeout)
        began = time.perf_counter()
        span = self.record.begin()
        failure: BaseException | None = None
        may_repeat = self.policy.retriable and self.budget.ask()
        throttle = self.throttle
        try:
            if throttle.active:
                throttle.ask()
            ask = self._bound or self._resolve()
            metadata = carried(self.policy, out, span)
            if self.policy.retriable and not may_repeat:
                metadata = (*metadata, _NOT_AGAIN)
            response, trailer = await ask(request, limit, metadata, not self.policy.changes_nothing)
            if throttle.active:
                throttle.taken()
            if out is not None:
                _note(trailer, out)
            return response
        except grpc.aio.UsageError:
            failure = Transient("CHANNEL_CLOSED", "The process is leaving the mesh.")
            raise failure from None
        except BaseException as error:
            failure = error
            self._learn(error, may_repeat)
            raise
        finally:
            self.record.end(span, began, failure)

    def _learn(self, error: BaseException, may_repeat: bool) -> None:
        if isinstance(error, Overloaded):
            self.throttle.refused(error.retry_after_s)
        elif self.throttle.active and isinstance(error, Refused):
            self.throttle.taken()
        elif may_repeat and type(error) is Transient:
            self.budget.spend()

    def rebind(self) -> None:
        """Binds itself anew before the next call."""
        self._bound = None

    def _resolve(self) -> Ask:
        self._bound = self._bind()
        return self._bound


def _note(trailer: Trailer, out: Outgoing) -> None:
    """Takes notice of what a peer says after its answer."""
    for key, value in trailer:
        if key == REPLAYED_KEY:
            out.replayed = True
        elif key == TOKEN_KEY:
            with contextlib.suppress(InvalidArgument):
                out.told.update(read_token(value))


class StreamMethod:
    """A streaming method of a stub: a call of grpc.aio, on the same channel, with the same context.

    It is bounded by `timeout` and by the caller's deadline, not by the contract's: streams last.
    Its errors are those of grpc.aio; `mesh.rpc.status.error_of` reads them.
    """

    __slots__ = ("_bind", "policy")

    def __init__(self, policy: MethodPolicy, bind: Bind) -> None:
        self.policy = policy
        self._bind = bind

    def __call__(self, *request: Any, timeout: float | None = None) -> Any:
        out = current.get()
        if out is not None and out.deadline is not None:
            timeout = time_to_ask(self.policy, out, timeout)
        metadata = carried(self.policy, out, tracing.current_span())
        return self._bind()(*request, timeout=timeout, metadata=metadata)


class _StubChannel:
    """What a generated stub takes for a channel: it makes each method, once."""

    def __init__(self, service: str, channels: Channels) -> None:
        self._service = service
        self._channels = channels

    def unary_unary(self, path: str, *coding: Any, **options: Any) -> UnaryMethod:
        record = ClientRecord(path, self._service, self._channels.scheme + self._service)

        policy, mirrors = policy_of(method_of(path)), self._channels.mirrors

        def bind() -> Ask:
            ask = ask_on(self._channels.to(self._service), path, *coding, **options)
            return mirrors.around(self._service, policy, ask)

        method = UnaryMethod(policy, record, self._channels.restraint(self._service), bind)
        mirrors.watch(self._service, method.rebind)
        return method

    def unary_stream(self, path: str, *coding: Any, **options: Any) -> StreamMethod:
        return self._streaming("unary_stream", path, coding, options)

    def stream_unary(self, path: str, *coding: Any, **options: Any) -> StreamMethod:
        return self._streaming("stream_unary", path, coding, options)

    def stream_stream(self, path: str, *coding: Any, **options: Any) -> StreamMethod:
        return self._streaming("stream_stream", path, coding, options)

    def _streaming(self, kind: str, path: str, coding: Any, options: Any) -> StreamMethod:
        return StreamMethod(policy_of(method_of(path)), self._binder(kind, path, coding, options))

    def _binder(self, kind: str, path: str, coding: Any, options: Any) -> Bind:
        def bind() -> Any:
            return getattr(self._channels.to(self._service), kind)(path, *coding, **options)

        return bind


def time_to_ask(policy: MethodPolicy, out: Outgoing | None, timeout: float | None) -> float:
    """Tells how many seconds a call may take: the least of its own limit, the contract's, and what
    is left of the caller's without the way back.

    Raises `DeadlineExceeded` when that is too little to begin.
    """
    limit = policy.timeout_s
    if timeout is not None and timeout < limit:
        limit = timeout
    if out is not None and out.deadline is not None:
        left = out.deadline - time.monotonic()
        limit = min(limit, left - max(HOP_S, left * HOP_PART))
    if limit < TOO_LATE_S:
        raise DeadlineExceeded("DEADLINE_TOO_CLOSE", "There was no time left to ask.")
    return limit


def carried(policy: MethodPolicy, out: Outgoing | None, span: tracing.Span) -> Metadata:
    """Makes the metadata of a call: the trace, and the user's token where the contract wants it."""
    if type(span) is RecordedSpan:
        traceparent: str | None = f"00-{span.trace_id:032x}-{span.span_id:016x}-01"
    else:
        traceparent = tracing.format_traceparent(span.get_span_context())
    metadata = (("traceparent", traceparent),) if traceparent else ()
    if out is not None and out.after:
        metadata = (*metadata, (AFTER_KEY, out.after))
    if policy.needs_user and out is not None and out.token is not None:
        metadata = (*metadata, ("authorization", f"Bearer {out.token}"))
        return (*metadata, (REASON_KEY, quote(out.reason))) if out.reason else metadata
    return metadata
