"""The ASGI application of the edge: one HTTP request is one call of one contract.

The edge decides nothing. It binds a path, a body and four headers (`Authorization`,
`Idempotency-Key`, `Prefer`, `X-Access-Reason`) to a request, calls the service that owns the
method, and writes the answer or the problem. What a method needs of those headers is read from its
contract.

A trace that comes from outside is not continued but linked: its flags and its ids are the sender's
word (W3C Trace Context, 3.4). Every response names its own trace in `traceresponse`.
"""

from __future__ import annotations

import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, NoReturn

import orjson
from google.protobuf.message import Message
from opentelemetry.trace import SpanKind
from starlette.applications import Starlette
from starlette.convertors import StringConvertor, register_url_convertor
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Match, Route

from mesh.auth.exchange import Exchange
from mesh.auth.usage import Usage
from mesh.errors import InvalidArgument, Unauthenticated
from mesh.ids import new_id
from mesh.rest.binding import Binding
from mesh.rest.body import MAX_BODY_BYTES, decode, read_body
from mesh.rest.convert import fill, fill_from_text, to_json
from mesh.rest.problem import MEDIA_TYPE, Problem, problem_of
from mesh.rest.rates import Addresses, Rate, Rates, subject
from mesh.rest.streams import answer_with_stream, resume
from mesh.rpc.consistency import read_token, write_token
from mesh.rpc.context import REASON_KEY, Outgoing, outgoing
from meshapi.v1 import options_pb2
from observability import logs, metrics, semconv, tracing

__all__ = ["Answer", "Call", "Edge", "as_user", "json_response"]

MAX_KEY_LENGTH = 255
MAX_REASON = 300
DEFAULT_WAIT_S = 1
MAX_WAIT_S = 4
# RFC 6750, 2.1: b68token.
TOKEN = re.compile(r"[A-Za-z0-9._~+/-]+=*")
WAIT = re.compile(r"(?:^|[,;\s])wait=(\d{1,4})(?:$|[,;\s])")

TOKEN_HEADER = "Consistency-Token"  # noqa: S105

UNROUTED = {404: "ROUTE_NOT_FOUND", 405: "METHOD_NOT_ALLOWED"}

# A stub's method: of one answer, or of a stream of them (`mesh.rest.streams`).
Call = Callable[[Message], Awaitable[Message]]
Answer = Callable[[Request], Awaitable[Response]]

log = logs.get_logger(__name__)


class _Segment(StringConvertor):
    """A variable of a path: what a colon begins is a custom verb (AIP-136), and no part of it."""

    regex = "[^/:]+"


register_url_convertor("segment", _Segment())


def json_response(
    value: object, status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    """Answers with a value as JSON."""
    return Response(orjson.dumps(value), status, headers, "application/json")


@asynccontextmanager
async def as_user(request: Request) -> AsyncIterator[Outgoing]:
    """Makes the calls of a block on behalf of the user who sent the request.

    Raises `Unauthenticated` when the request carries no bearer token that is good (RFC 6750), and
    `Transient` when nobody can tell.
    """
    exchange: Exchange = request.app.state.exchange
    traded = await exchange.traded(_token(request))
    rates: Rates = request.app.state.rates
    rate = rates.of_key(traded.plan) if traded.plan else rates.person
    request.state.rate_limit = rates.take(rate, traded.subject or traded.token)
    if traded.plan:
        await request.app.state.usage.use(traded.subject, traded.plan.allowance)
    out = Outgoing(
        token=traded.token,
        reason=_reason(request),
        after=_after(request),
    )
    with outgoing(out):
        yield out


@dataclass(frozen=True)
class Edge:
    """The application: bindings, each with the call that answers it, and routes of its own.

    `pages` are routes that leave no trace: probes ask for them all day. `exchange` trades what an
    app shows for what the edge shows inside; `usage` counts what is asked with API keys; `rates`
    bounds how often one may ask.
    """

    calls: Sequence[tuple[Binding, Call]]
    exchange: Exchange
    usage: Usage
    rates: Rates = field(default_factory=Rates)
    addresses: Addresses = field(default_factory=Addresses)
    routes: Sequence[tuple[str, Answer]] = ()
    pages: Sequence[tuple[str, Answer]] = ()

    def app(self) -> Starlette:
        """Makes the ASGI application."""
        routes: list[BaseRoute] = [
            Route(
                re.sub(r"{(\w+)}", r"{\1:segment}", binding.path),
                _traced(binding.path, _bound(binding, call, self._limits(binding))),
                methods=[binding.verb],
            )
            for binding, call in self.calls
        ]
        routes += [
            Route(path, _traced(path, answer), methods=["GET"]) for path, answer in self.routes
        ]
        routes += [Route(path, answer, methods=["GET"]) for path, answer in self.pages]
        app = Starlette(routes=routes, exception_handlers={HTTPException: _unrouted})
        app.state.exchange, app.state.usage = self.exchange, self.usage
        app.state.rates, app.state.addresses = self.rates, self.addresses
        return app

    def _limits(self, binding: Binding) -> tuple[Rate, ...]:
        return self.rates.of(binding.policy, binding.method.name)


async def _unrouted(request: Request, error: Exception) -> Response:
    """Answers what no route answers, in the form of every other problem."""
    assert isinstance(error, HTTPException)
    reason = UNROUTED.get(error.status_code, "HTTP_ERROR")
    headers = dict(error.headers or {})
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        headers["Allow"] = _allowed(request)
    problem = Problem(error.status_code, reason, error.detail, headers=headers)

    async def refuse(request: Request) -> NoReturn:
        raise problem

    return await _traced("", refuse)(request)


def _allowed(request: Request) -> str:
    """Lists the verbs of all routes of a path (RFC 9110, 10.2.1)."""
    verbs: set[str] = set()
    for route in request.app.routes:
        if route.matches(request.scope)[0] is not Match.NONE:
            verbs |= route.methods or set()
    return ", ".join(sorted(verbs))


def _traced(route: str, answer: Answer) -> Answer:
    """Puts an answer into a trace of its own, and makes a problem of what it raises."""

    async def traced(request: Request) -> Response:
        began = time.perf_counter()
        attributes: dict[str, Any] = {
            semconv.HTTP_REQUEST_METHOD: request.method,
            semconv.HTTP_ROUTE: route,
            semconv.URL_SCHEME: request.scope["scheme"],
        }
        outside = tracing.parse(request.headers.get("traceparent"))
        span = tracing.start_span(
            f"{request.method} {route}".rstrip(),
            SpanKind.SERVER,
            attributes,
            parent=None,
            links=[outside] if outside else (),
        )
        context = span.get_span_context()
        trace_id = f"{context.trace_id:032x}"
        with tracing.use(span):
            try:
                request.state.address = request.app.state.addresses.of(request)
                request.app.state.rates.take(request.app.state.rates.address, request.state.address)
                response = await answer(request)
            except Exception as error:
                problem = problem_of(error, repeatable="idempotency-key" in request.headers)
                if problem.status >= 500:
                    tracing.fail(span, problem.reason)
                if problem.reason == "INTERNAL":
                    log.exception("unhandled error", extra={"route": route})
                body = problem.body(trace_id)
                response = Response(body, problem.status, problem.headers, MEDIA_TYPE)
        response.headers["traceresponse"] = (
            f"00-{trace_id}-{context.span_id:016x}-{int(context.trace_flags):02x}"
        )
        span.set_attribute(semconv.HTTP_RESPONSE_STATUS_CODE, response.status_code)
        span.end()
        metrics.HTTP_SERVER_REQUEST_DURATION.record(
            time.perf_counter() - began,
            request.method,
            route,
            str(response.status_code),
            trace_id=context.trace_id if context.trace_flags.sampled else 0,
        )
        return response

    return traced


def _bound(binding: Binding, call: Call, limits: Sequence[Rate]) -> Answer:
    """Binds a request to a call of the method, and the answer to a response."""
    needs_user = binding.policy.access in (options_pb2.ACCESS_USER, options_pb2.ACCESS_STAFF)
    most = MAX_BODY_BYTES + binding.room
    may_wait = "wait" in binding.method.input_type.fields_by_name
    key_rule = binding.policy.idempotency_key
    status = 201 if binding.creates else 200

    async def bound(request: Request) -> Response:
        if needs_user:
            _token(request)
        message: Any = binding.new_request()
        key = _idempotency_key(request, key_rule) if key_rule else None
        await _read(binding, request, message, most)
        if key_rule:
            message.request_id = key or new_id()
        headers = {}
        if may_wait:
            seconds = _wait_s(request)
            message.wait.seconds = seconds
            if "prefer" in request.headers:
                headers["Preference-Applied"] = f"wait={seconds}"
        with _limited(request, message, limits):
            return await answered(request, message, headers)

    async def answered(request: Request, message: Message, headers: dict[str, str]) -> Response:
        async with as_user(request) if needs_user else _as_nobody() as out:
            if binding.method.server_streaming:
                resume(request, message)
                return await answer_with_stream(binding, call, message)
            answer = await call(message)
        if out.replayed:
            headers["Idempotent-Replayed"] = "true"
        if out.told:
            headers[TOKEN_HEADER] = write_token(out.told)
        if limit := getattr(request.state, "rate_limit", ""):
            headers["RateLimit"] = limit
        return json_response(to_json(answer), status, headers)

    return bound


@contextmanager
def _limited(request: Request, message: Message, limits: Sequence[Rate]) -> Iterator[None]:
    """Lets a request in that its address has not made too often. Raises `Problem` 429."""
    if not limits:
        yield
        return
    rates: Rates = request.app.state.rates
    guesses = []
    for rate in limits:
        who = request.state.address
        if rate.field:
            who += f" {subject(message, rate.field)}"
        if rate.only_refused:
            guesses.append((rate, who))
        request.state.rate_limit = rates.take(rate, who, 0 if rate.only_refused else 1)
    try:
        yield
    except Unauthenticated:
        for rate, who in guesses:
            rates.take(rate, who)
        raise


@asynccontextmanager
async def _as_nobody() -> AsyncIterator[Outgoing]:
    with outgoing(Outgoing()) as out:
        yield out


async def _read(binding: Binding, request: Request, message: Message, most: int) -> None:
    if binding.has_body:
        fill(message, decode(await read_body(request, most)))
        if request.scope["query_string"] and request.query_params:
            raise InvalidArgument("INVALID_REQUEST", "This request takes no parameters in its URL.")
    else:
        fill_from_text(message, _parameters(request))
    if request.path_params:
        fill_from_text(message, request.path_params.items())


def _after(request: Request) -> str:
    """Finds the token of what an answer must include: in a header, or as the parameter `after`.

    Raises `InvalidArgument` if there is one that is none.
    """
    given = request.headers.get(TOKEN_HEADER, "") or request.query_params.get("after", "")
    # A number is a version, which the contract of a method may take.
    if not given or given.isdecimal():
        return ""
    return write_token(read_token(given))


def _parameters(request: Request) -> list[tuple[str, str]]:
    return [
        (name, value)
        for name, value in request.query_params.multi_items()
        if name != "after" or value.isdecimal()
    ]


def _token(request: Request) -> str:
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if not scheme and "x-api-key" in request.headers:
        scheme, token = "bearer", request.headers["x-api-key"]
    if scheme.lower() != "bearer" or not token.strip():
        raise Unauthenticated("TOKEN_MISSING", "Sign in first: this needs a bearer token.")
    if not TOKEN.fullmatch(token.strip()):
        raise Unauthenticated("TOKEN_INVALID", "The bearer token is none.")
    return token.strip()


def _reason(request: Request) -> str:
    return request.headers.get(REASON_KEY, "")[:MAX_REASON]


def _idempotency_key(request: Request, rule: options_pb2.IdempotencyKey.ValueType) -> str | None:
    key = request.headers.get("idempotency-key", "").strip().strip('"')
    if not key:
        if rule == options_pb2.IDEMPOTENCY_KEY_REQUIRED:
            raise Problem(
                400,
                "IDEMPOTENCY_KEY_MISSING",
                "A request that moves money needs an Idempotency-Key.",
            )
        return None
    if len(key) > MAX_KEY_LENGTH:
        raise Problem(
            400, "IDEMPOTENCY_KEY_INVALID", "An Idempotency-Key has 255 characters at most."
        )
    return key


def _wait_s(request: Request) -> int:
    found = WAIT.search(request.headers.get("prefer", ""))
    return min(int(found[1]), MAX_WAIT_S) if found else DEFAULT_WAIT_S
