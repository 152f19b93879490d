"""One payment while notifications is away: all that follows from it is one tree, tries included.

Run with the fault tests: it waits for the time that a unit waits for its lock. With JAEGER_URL and
JAEGER_OTLP_URL set, the same spans are told to that Jaeger, and it must give the same tree.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import urllib.request
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import httpx2 as httpx
import pytest

from observability.client import Trace, TraceClient, TraceSpan, TraceStoreError

from .bank import Bank, a_customer, brl, eventually

pytestmark = pytest.mark.faults

COMPLETED = "bank.transfers.v1.TransferCompleted."
ANSWERED = ("server", "client")


@contextmanager
def frozen(bank: Bank, service: str) -> Iterator[None]:
    pids = bank.pids(service)
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


@contextmanager
def locked(database: Path) -> Iterator[None]:
    with closing(sqlite3.connect(database, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield
        finally:
            connection.execute("ROLLBACK")


def tries(trace: Trace) -> list[TraceSpan]:
    """What notifications did with the event, in order."""
    found = [
        span
        for span in trace.spans
        if span.service == "notifications" and span.name.startswith(f"process {COMPLETED}")
        if span.attributes["messaging.consumer.group.name"] == "notifications-notify"
    ]
    return sorted(found, key=lambda span: span.start_ns)


def assert_whole(trace: Trace) -> None:
    """Every span hangs on another one, whose kind fits; each try has its number."""
    spans = {span.span_id: span for span in trace.spans}
    roots = [span for span in trace.spans if not span.parent_id]
    assert [(root.service, root.name) for root in roots] == [("bff", "POST /v1/transfers")]
    for span in trace.spans:
        if not span.parent_id:
            continue
        parent = spans[span.parent_id]
        if span.kind == "server":
            assert (parent.kind, parent.name) == ("client", span.name)
            assert parent.attributes["service.peer.name"] == span.service
        if span.kind == "consumer":
            assert parent.kind == "producer"
            assert (trace.trace_id, parent.span_id) in span.links
            assert parent.name.removeprefix("send ") == span.name.removeprefix("process ")
    sent = [span for span in trace.spans if span.name.startswith(f"send {COMPLETED}")]
    assert [span.service for span in sent] == ["transfers"]
    first, *others = tries(trace)
    assert len(others) >= 1
    numbers = [span.attributes["mesh.messaging.attempt"] for span in (first, *others)]
    assert [int(str(number)) for number in numbers] == list(range(1, len(others) + 2))
    assert {span.attributes["messaging.nats.delivery_count"] for span in (first, *others)} <= {
        1, 2, "1", "2"
    }  # fmt: skip
    assert {span.parent_id for span in (first, *others)} == {sent[0].span_id}
    assert [span.error for span in (first, *others)] == [True] * len(others) + [False]
    readers = {span.service for span in trace.spans if span.kind == "consumer"}
    assert {"statements", "notifications"} <= readers
    asked = {
        (span.service, span.name.rpartition("/")[2])
        for span in trace.spans
        if span.kind == "server"
    }
    assert {("transfers", "CreateTransfer"), ("accounts", "PostEntry")} <= asked


async def test_a_payment_and_all_that_follows_is_one_tree_whatever_was_away_meanwhile(
    bank: Bank, http: httpx.AsyncClient
) -> None:
    payer, payee = await asyncio.gather(a_customer(http, 1_000), a_customer(http))
    store = TraceClient(bank.traces)
    with locked(bank.data / "notifications" / "notifications.db"):
        with frozen(bank, "notifications"):
            paid = await payer.pay({"accountId": payee.account_id}, brl("10"))
            assert paid.json()["transfer"]["status"] == "COMPLETED"
        trace_id = paid.headers["traceresponse"].split("-")[1]

        async def has_failed() -> bool:
            return any(span.error for span in tries(await store.get(trace_id)))

        await eventually(has_failed, "the first try to fail")

    async def is_told() -> Trace | None:
        trace = await store.get(trace_id)
        return trace if any(not span.error for span in tries(trace)) else None

    trace = await eventually(is_told, "the try that succeeds")
    assert_whole(trace)
    if jaeger := os.environ.get("JAEGER_URL"):
        assert_whole(await told_to(jaeger, bank.traces, trace))


async def told_to(jaeger: str, embedded: str, trace: Trace) -> Trace:
    """Sends the spans of a trace to a Jaeger, and gives what that makes of them."""
    otlp = os.environ.get("JAEGER_OTLP_URL", "http://127.0.0.1:4318")

    def send() -> None:
        with urllib.request.urlopen(f"{embedded}/api/v3/traces/{trace.trace_id}") as answer:
            body = answer.read().removeprefix(b'{"result":').removesuffix(b"}")
        headers = {"Content-Type": "application/json"}
        urllib.request.urlopen(urllib.request.Request(f"{otlp}/v1/traces", body, headers)).close()

    await asyncio.to_thread(send)

    async def whole() -> Trace | None:
        try:
            found = await TraceClient(jaeger).get(trace.trace_id)
        except TraceStoreError:
            return None
        return found if len(found.spans) == len(trace.spans) else None

    found: Trace = await eventually(whole, "Jaeger to have all spans")
    return found
