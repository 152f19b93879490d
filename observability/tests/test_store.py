"""The embedded store: what it takes, what it keeps, what it survives."""

from __future__ import annotations

import asyncio
import gzip
import json
import secrets
import time
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

import pytest

from observability.client import TraceClient, jaeger_answers
from observability.tests.conftest import Addresses, Eventually, start_store
from observability.tracestore import MARKER, queries
from observability.tracestore.store import Limits, Store

NOW_NS = time.time_ns()


def batch(*spans: dict[str, Any], service: str = "accounts") -> bytes:
    resource = {"attributes": [{"key": "service.name", "value": {"stringValue": service}}]}
    scopes = [{"scope": {"name": "test"}, "spans": spans}]
    return json.dumps({"resourceSpans": [{"resource": resource, "scopeSpans": scopes}]}).encode()


def span(trace_id: str, **changes: Any) -> dict[str, Any]:
    return {
        "traceId": trace_id,
        "spanId": secrets.token_hex(8),
        "name": "work",
        "kind": 2,
        "startTimeUnixNano": str(NOW_NS),
        "endTimeUnixNano": str(NOW_NS + 1_000),
        **changes,
    }


def post(url: str, body: bytes, **headers: str) -> tuple[int, bytes]:
    all_headers = {"Content-Type": "application/json"} | {
        name.replace("_", "-"): value for name, value in headers.items()
    }
    request = urllib.request.Request(f"{url}/v1/traces", body, all_headers)
    return answer_to(request)


def answer_to(request: urllib.request.Request | str) -> tuple[int, bytes]:
    try:
        with urllib.request.urlopen(request, timeout=10) as response:
            return response.status, response.read()
    except HTTPError as error:
        with error:
            return error.code, error.read()


@asynccontextmanager
async def running(data: Path, limits: Limits | None = None) -> AsyncIterator[Store]:
    store = Store(data, limits)
    store.start()
    try:
        yield store
    finally:
        await asyncio.to_thread(store.stop)


async def count(store: Store, trace_id: str) -> int:
    await store.settle()
    database = store.connect()
    try:
        return len(queries.spans_of(database, bytes.fromhex(trace_id)))
    finally:
        database.close()


async def test_what_is_accepted_is_found_at_once(tmp_path: Path) -> None:
    trace_id = secrets.token_hex(16)
    async with running(tmp_path) as store:
        for number in range(1, 200):
            assert store.accept(batch(span(trace_id)))
            if number % 20 == 0:
                assert await count(store, trace_id) == number


async def test_what_was_not_read_yet_is_read_after_a_restart(tmp_path: Path) -> None:
    trace_id = secrets.token_hex(16)
    async with running(tmp_path) as store:
        for _ in range(50):
            store.accept(batch(*(span(trace_id) for _ in range(100))))
    async with running(tmp_path) as store:
        assert await count(store, trace_id) == 5_000


async def test_a_span_that_comes_twice_is_one(tmp_path: Path) -> None:
    trace_id = secrets.token_hex(16)
    body = batch(span(trace_id), span(trace_id))
    async with running(tmp_path) as store:
        store.accept(body)
        store.accept(body)
        assert await count(store, trace_id) == 2


async def test_the_oldest_go_when_there_are_too_many(
    tmp_path: Path, eventually: Eventually
) -> None:
    old, new = secrets.token_hex(16), secrets.token_hex(16)
    async with running(tmp_path, Limits(spans=100)) as store:
        store.accept(batch(*(span(old) for _ in range(300))))
        store.accept(batch(*(span(new) for _ in range(100))))

        async def only_the_new() -> bool:
            return (await count(store, old), await count(store, new)) == (0, 100)

        await eventually(only_the_new)
        assert store.figures.expired_spans == 300


async def test_what_is_too_old_goes_and_its_operations_with_it(
    tmp_path: Path, eventually: Eventually
) -> None:
    trace_id = secrets.token_hex(16)
    ancient = span(trace_id, startTimeUnixNano="1000", endTimeUnixNano="2000")
    async with running(tmp_path) as store:
        store.accept(batch(ancient, service="retired"))

        async def is_gone() -> bool:
            await store.settle()
            database = store.connect()
            try:
                return "retired" not in queries.services(database)
            finally:
                database.close()

        await eventually(is_gone)


async def test_too_much_at_once_is_refused(tmp_path: Path) -> None:
    store = Store(tmp_path, Limits(pending_bytes=1_000))
    assert store.accept(b"{" + b" " * 600)
    assert not store.accept(b"{" + b" " * 600)


async def test_a_backlog_that_is_too_long_loses_its_oldest(tmp_path: Path) -> None:
    trace_id = secrets.token_hex(16)
    body = batch(*(span(trace_id) for _ in range(10)))
    store = Store(tmp_path, Limits(backlog_bytes=len(body) * 3))
    for _ in range(10):
        store.accept(body)
    store.start()
    await asyncio.to_thread(store.stop)
    assert store.figures.overflowed_batches + store.figures.stored_spans // 10 >= 7


@pytest.mark.parametrize(
    "changes",
    [
        {"traceId": "xyz"},
        {"traceId": "0" * 32},
        {"spanId": "ab"},
        {"parentSpanId": "not hex"},
        {"name": 7},
        {"startTimeUnixNano": "soon"},
        {"startTimeUnixNano": str(1 << 70)},
        {"traceId": None},
        {"events": [7]},
    ],
)
async def test_a_span_that_makes_no_sense_is_left_out(
    tmp_path: Path, changes: dict[str, Any]
) -> None:
    trace_id = secrets.token_hex(16)
    async with running(tmp_path) as store:
        store.accept(batch(span(trace_id), {**span(trace_id), **changes}))
        assert await count(store, trace_id) == 1
        assert store.figures.rejected_spans == 1


@pytest.mark.parametrize("body", [b"{", b"[]", b'{"resourceSpans":[7]}', b'{"resourceSpans":7}'])
async def test_a_batch_that_makes_no_sense_is_left_out(tmp_path: Path, body: bytes) -> None:
    trace_id = secrets.token_hex(16)
    async with running(tmp_path) as store:
        store.accept(body)
        store.accept(batch(span(trace_id)))
        assert await count(store, trace_id) == 1
        assert store.figures.rejected_batches == 1


async def test_names_of_enums_are_understood(tmp_path: Path) -> None:
    trace_id = secrets.token_hex(16)
    odd = span(trace_id, kind="SPAN_KIND_CLIENT", status={"code": "STATUS_CODE_ERROR"})
    async with running(tmp_path) as store:
        store.accept(batch(odd))
        await store.settle()
        database = store.connect()
        [stored] = queries.spans_of(database, bytes.fromhex(trace_id))
        database.close()
    assert (stored.kind, stored.error) == (3, 1)


async def test_a_killed_store_comes_back_with_what_it_had(tmp_path: Path) -> None:
    trace_id = secrets.token_hex(16)
    store = await asyncio.to_thread(start_store, tmp_path)
    await asyncio.to_thread(post, store.addresses.otlp, batch(span(trace_id)))
    assert len((await TraceClient(store.addresses.query).get(trace_id)).spans) == 1
    store.process.kill()
    store.process.communicate(timeout=10)
    again = await asyncio.to_thread(start_store, tmp_path)
    try:
        assert len((await TraceClient(again.addresses.query).get(trace_id)).spans) == 1
    finally:
        assert await asyncio.to_thread(again.stop) == 0


def test_packed_batches_are_unpacked(embedded: Addresses) -> None:
    trace_id = secrets.token_hex(16)
    packed = gzip.compress(batch(span(trace_id)))
    status, body = post(embedded.otlp, packed, Content_Encoding="gzip")
    assert (status, json.loads(body)) == (200, {"partialSuccess": {}})
    assert answer_to(f"{embedded.query}/api/v3/traces/{trace_id}")[0] == 200


def test_what_is_no_batch_is_refused(embedded: Addresses) -> None:
    assert post(embedded.otlp, b"\x0a\x00", Content_Type="application/x-protobuf")[0] == 415
    assert post(embedded.otlp, b"hello")[0] == 400
    assert post(embedded.otlp, b"hello", Content_Encoding="gzip")[0] == 400
    bomb = gzip.compress(b"{" + b" " * (17 << 20))
    assert post(embedded.otlp, bomb, Content_Encoding="gzip")[0] == 413


def test_the_store_is_not_taken_for_a_jaeger(embedded: Addresses) -> None:
    assert not jaeger_answers(embedded.query)
    assert not jaeger_answers("http://127.0.0.1:9")
    assert not jaeger_answers("nonsense")
    with urllib.request.urlopen(embedded.query, timeout=10) as response:
        assert response.headers[MARKER] == "embedded"


def test_metrics_are_not_here(embedded: Addresses) -> None:
    status, body = answer_to(f"{embedded.query}/api/metrics/calls?service=a")
    assert status == 501
    assert json.loads(body)["errors"][0]["code"] == 501


@pytest.mark.parametrize(
    "path", ["/", "/search?service=a", f"/trace/{'ab' * 16}?uiFind=cd", "/compare", "/dependencies"]
)
def test_the_pages_are_served_and_need_nothing_from_outside(embedded: Addresses, path: str) -> None:
    with urllib.request.urlopen(f"{embedded.query}{path}", timeout=10) as response:
        page = response.read().decode()
        assert "default-src 'none'" in response.headers["Content-Security-Policy"]
    assert "not Jaeger" in page
    assert "http://" not in page
    assert "https://" not in page


@pytest.mark.parametrize(
    "name",
    [
        "search.js",
        "shared.js",
        "spans.js",
        "style.css",
        "trace.js",
        "compare.js",
        "dependencies.js",
    ],
)
def test_the_pages_parts_are_served(embedded: Addresses, name: str) -> None:
    status, body = answer_to(f"{embedded.query}/static/{name}")
    assert status == 200
    assert b"https://" not in body
