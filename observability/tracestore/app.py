"""The HTTP side: OTLP in, Jaeger's query routes out, and the pages."""

from __future__ import annotations

import asyncio
import sqlite3
import time
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, closing
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final, TypeVar

import orjson
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from . import BANNER, MARKER, queries, shapes
from .parameters import Malformed, search, trace_id
from .store import Store

__all__ = ["build"]

_MAX_BODY: Final = 16 << 20
_QUERY_TIMEOUT_S: Final = 30.0
_JSON: Final = "application/json"
_STATIC: Final = Path(__file__).parent / "static"
_PARTS: Final = sorted(file.name for file in _STATIC.iterdir() if file.suffix in (".js", ".css"))
_PAGE_HEADERS: Final = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; "
        "connect-src 'self'; img-src 'self' data:; base-uri 'none'; frame-ancestors 'self'"
    ),
    "Cache-Control": "no-cache",
}

T = TypeVar("T")


class _TooLarge(Exception):
    """The body is larger than a batch may be."""


class _Api:
    """The routes over one store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def take(self, request: Request) -> Response:
        """Takes a batch of spans: OTLP/HTTP with JSON, `POST /v1/traces`."""
        if request.headers.get("content-type", "").partition(";")[0].strip() != _JSON:
            return _json({"code": 3, "message": "only application/json is understood"}, 415)
        try:
            body = await _body(request)
        except _TooLarge:
            return _json({"code": 3, "message": f"more than {_MAX_BODY} bytes"}, 413)
        except zlib.error:
            return _json({"code": 3, "message": "malformed gzip"}, 400)
        if not body.lstrip().startswith(b"{"):
            return _json({"code": 3, "message": "malformed JSON"}, 400)
        if not self._store.accept(body):
            return Response(status_code=503, headers={"Retry-After": "1"})
        return Response(b'{"partialSuccess":{}}', media_type=_JSON)

    async def services(self, request: Request) -> Response:
        """`GET /api/v3/services`"""
        return _json({"services": await self._read(queries.services)})

    async def operations(self, request: Request) -> Response:
        """`GET /api/v3/operations?service=&spanKind=`"""
        service = request.query_params.get("service", "")
        if not service:
            raise Malformed("parameter service is required")
        kind = request.query_params.get("spanKind") or request.query_params.get("span_kind") or ""
        found = await self._read(queries.operations, service, kind.lower())
        return _json({"operations": [{"name": name, "spanKind": kind} for name, kind in found]})

    async def summaries(self, request: Request) -> Response:
        """`GET /api/v3/trace-summaries?query.*`"""
        wanted = search(request.query_params)

        def summarise(database: sqlite3.Connection) -> list[dict[str, Any]]:
            found = queries.find(database, wanted)
            return [shapes.summary(trace, queries.spans_of(database, trace)) for trace in found]

        return _json({"summaries": await self._read(summarise)})

    async def traces(self, request: Request) -> Response:
        """`GET /api/v3/traces?query.*`"""
        wanted = search(request.query_params)

        def collect(database: sqlite3.Connection) -> bytes:
            found = queries.find(database, wanted)
            if not found:
                return b""
            return shapes.traces(queries.spans_of(database, trace) for trace in found)

        body = await self._read(collect)
        return Response(body, media_type=_JSON) if body else _error(404, "No traces found")

    async def trace(self, request: Request) -> Response:
        """`GET /api/v3/traces/{trace_id}`"""
        spans = await self._read(queries.spans_of, trace_id(request.path_params["trace_id"]))
        if not spans:
            return _error(404, "No traces found")
        return Response(shapes.traces([spans]), media_type=_JSON)

    async def legacy_trace(self, request: Request) -> Response:
        """`GET /api/traces/{trace_id}`"""
        wanted = trace_id(request.path_params["trace_id"])
        spans = await self._read(queries.spans_of, wanted)
        if not spans:
            errors = [{"code": 404, "msg": "trace not found"}]
            return _json({**_legacy(None), "errors": errors}, 404)
        return _json(_legacy([shapes.legacy_trace(wanted, spans)]))

    async def dependencies(self, request: Request) -> Response:
        """`GET /api/dependencies?endTs=&lookback=`, both in milliseconds"""
        now_ms = time.time_ns() // 1_000_000
        end = _integer(request, "endTs", now_ms)
        lookback = _integer(request, "lookback", 86_400_000)

        def count(database: sqlite3.Connection) -> list[tuple[str, str, int]]:
            since, until = (end - lookback) * 1_000_000, end * 1_000_000
            return list(queries.dependencies(database, since, until))

        edges = await self._read(count)
        keys = ("parent", "child", "callCount")
        return _json(_legacy([dict(zip(keys, edge, strict=True)) for edge in edges]))

    async def metrics(self, request: Request) -> Response:
        """`GET /api/metrics/*`: not here."""
        return _json({**_legacy(None), "errors": [{"code": 501, "msg": "no metrics here"}]}, 501)

    async def figures(self, request: Request) -> Response:
        """What became of what came in; not Jaeger's. It says whose answer this is."""
        return _json({"banner": BANNER, **asdict(self._store.figures)})

    async def _read(self, query: Callable[..., T], *arguments: object) -> T:
        """Runs a query in a thread, once all that was accepted can be found."""

        def run() -> T:
            with closing(self._store.connect()) as database:
                return query(database, *arguments)

        async with asyncio.timeout(_QUERY_TIMEOUT_S):
            await self._store.settle()
            return await asyncio.to_thread(run)


def build(store: Store) -> ASGIApp:
    """Makes the application over a store, which it starts and stops."""
    api = _Api(store)

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        store.start()
        try:
            yield
        finally:
            await asyncio.to_thread(store.stop)

    application = Starlette(
        routes=[
            Route("/v1/traces", api.take, methods=["POST"]),
            Route("/api/v3/services", api.services),
            Route("/api/v3/operations", api.operations),
            Route("/api/v3/trace-summaries", api.summaries),
            Route("/api/v3/traces", api.traces),
            Route("/api/v3/traces/{trace_id}", api.trace),
            Route("/api/traces/{trace_id}", api.legacy_trace),
            Route("/api/dependencies", api.dependencies),
            Route("/api/metrics/{name}", api.metrics),
            Route("/figures", api.figures),
            Route("/", _page("search.html")),
            Route("/search", _page("search.html")),
            Route("/trace/{trace_id}", _page("trace.html")),
            Route("/compare", _page("compare.html")),
            Route("/dependencies", _page("dependencies.html")),
            *(Route(f"/static/{name}", _page(name)) for name in _PARTS),
        ],
        exception_handlers={Malformed: _malformed, TimeoutError: _late},
        lifespan=lifespan,
    )
    return _marked(application)


def _marked(application: ASGIApp) -> ASGIApp:
    """Puts the header that tells this store from a Jaeger on every answer."""
    header = (MARKER.lower().encode(), b"embedded")

    async def marked(scope: Scope, receive: Receive, send: Send) -> None:
        async def send_marked(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], header]
            await send(message)

        await application(scope, receive, send_marked)

    return marked


def _page(name: str) -> Callable[[Request], Awaitable[Response]]:
    async def serve(request: Request) -> Response:
        return FileResponse(_STATIC / name, headers=_PAGE_HEADERS)

    return serve


async def _body(request: Request) -> bytes:
    """Reads the body, unpacked; never more than a batch may be."""
    packed = bytearray()
    async for chunk in request.stream():
        packed += chunk
        if len(packed) > _MAX_BODY:
            raise _TooLarge
    if request.headers.get("content-encoding") != "gzip":
        return bytes(packed)
    unpacker = zlib.decompressobj(zlib.MAX_WBITS | 16)
    body = unpacker.decompress(bytes(packed), _MAX_BODY + 1)
    if len(body) > _MAX_BODY:
        raise _TooLarge
    return body


def _integer(request: Request, name: str, default: int) -> int:
    text = request.query_params.get(name, "")
    if not text:
        return default
    if not text.isascii() or not text.isdigit() or len(text) > 15:
        raise Malformed(f"malformed parameter {name}: {text[:64]}")
    return min(int(text), 9_000_000_000_000)


def _legacy(data: object) -> dict[str, Any]:
    return {"data": data, "total": 0, "limit": 0, "offset": 0, "errors": None}


def _json(content: object, status: int = 200) -> Response:
    return Response(orjson.dumps(content), status, media_type=_JSON)


def _error(status: int, message: str) -> Response:
    return _json({"error": {"httpCode": status, "message": message}}, status)


async def _malformed(request: Request, error: Exception) -> Response:
    return _error(400, str(error))


async def _late(request: Request, error: Exception) -> Response:
    return _error(503, "the store is busy; ask again")
