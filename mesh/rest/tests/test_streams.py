"""Streams over ASGI: files in pieces, server-sent events, and refusals before either."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import grpc
import httpx2 as httpx
import pytest
from google.api.httpbody_pb2 import HttpBody

from bank.statements.v1 import statements_pb2 as pb
from mesh.auth.exchange import Exchange
from mesh.auth.usage import Usage
from mesh.ids import new_id
from mesh.rest.binding import Binding, bindings
from mesh.rest.edge import Edge
from mesh.rest.openapi import openapi
from mesh.rpc.context import current
from meshapi.v1.tokens_pb2 import (
    CountUsesRequest,
    CountUsesResponse,
    ExchangeTokenRequest,
    ExchangeTokenResponse,
)

STATEMENTS = pb.DESCRIPTOR.services_by_name["StatementsService"]
HEADERS = {"Authorization": "Bearer token"}
ACCOUNT = new_id()


@dataclass
class Call:
    """A call of grpc.aio that gives some pieces, and then fails or waits."""

    pieces: Sequence[Any]
    failure: grpc.aio.AioRpcError | None = None
    waits: bool = False
    cancelled: bool = False

    def cancel(self) -> None:
        self.cancelled = True

    async def __aiter__(self) -> AsyncIterator[Any]:
        for piece in self.pieces:
            yield piece
        if self.failure is not None:
            raise self.failure
        if self.waits:
            await asyncio.Event().wait()


@dataclass
class Upstream:
    call: Call
    asked: list[Any] = field(default_factory=list)
    tokens: list[str | None] = field(default_factory=list)

    def __call__(self, request: Any, timeout: float) -> Call:
        out = current.get()
        assert out is not None
        self.asked.append(request)
        self.tokens.append(out.token)
        return self.call


async def count(request: CountUsesRequest) -> CountUsesResponse:
    return CountUsesResponse()


async def trade(request: ExchangeTokenRequest) -> ExchangeTokenResponse:
    return ExchangeTokenResponse(internal_token=f"inside {request.access_token}", expires_in=300)


def bound() -> list[Binding]:
    return list(bindings([STATEMENTS], with_sandbox=False))


def asking(upstream: Upstream) -> httpx.AsyncClient:
    calls: list[Any] = [(binding, upstream) for binding in bound()]
    transport = httpx.ASGITransport(Edge(calls, Exchange(trade), Usage(count)).app())
    return httpx.AsyncClient(transport=transport, base_url="http://edge", headers=HEADERS)


def failure(code: grpc.StatusCode) -> grpc.aio.AioRpcError:
    return grpc.aio.AioRpcError(code, grpc.aio.Metadata(), grpc.aio.Metadata(), "no")


def piece(data: bytes) -> pb.ExportStatementResponse:
    body = HttpBody(content_type="text/csv; charset=utf-8", data=data)
    return pb.ExportStatementResponse(body=body, file_name='a"\r\nb.csv')


async def test_a_file_comes_in_pieces_under_its_type_and_a_safe_name() -> None:
    upstream = Upstream(Call([piece(b"a;"), piece(b"b\n")]))

    async with asking(upstream) as http:
        answer = await http.get(f"/v1/accounts/{ACCOUNT}/statement:export?format=CSV")

    assert (answer.status_code, answer.content) == (200, b"a;b\n")
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert answer.headers["content-disposition"] == 'attachment; filename="a___b.csv"'
    assert answer.headers["traceresponse"]
    assert upstream.asked[0].format == pb.STATEMENT_FORMAT_CSV
    assert upstream.tokens == ["inside token"]


async def test_a_refusal_is_a_problem_like_any_other() -> None:
    upstream = Upstream(Call([], failure(grpc.StatusCode.NOT_FOUND)))

    async with asking(upstream) as http:
        answer = await http.get(f"/v1/accounts/{ACCOUNT}/statement:export?format=PDF")

    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"


async def test_a_file_that_breaks_off_does_not_look_whole() -> None:
    upstream = Upstream(Call([piece(b"a")], failure(grpc.StatusCode.UNAVAILABLE)))

    async with asking(upstream) as http:
        with pytest.raises(grpc.aio.AioRpcError):
            await http.get(f"/v1/accounts/{ACCOUNT}/statement:export?format=CSV")

    assert upstream.call.cancelled


async def test_events_have_ids_names_and_data_and_the_last_id_comes_back() -> None:
    entry = pb.StatementEntry(entry_id="e", version=3)
    line = pb.StatementLine(account_id=ACCOUNT, entry=entry)
    told = [
        pb.WatchEventsResponse(event_id="a:2"),
        pb.WatchEventsResponse(event_id="a:3", statement_line=line),
    ]
    upstream = Upstream(Call(told, failure(grpc.StatusCode.DEADLINE_EXCEEDED)))

    async with asking(upstream) as http:
        answer = await http.get("/v1/events", headers={"Last-Event-ID": "a:1"})

    assert answer.headers["content-type"].startswith("text/event-stream")
    alive, event = answer.text.removeprefix("retry: 1000\n\n").rstrip("\n").split("\n\n")
    assert alive == ": alive\nid: a:2"
    assert event.startswith("id: a:3\nevent: statementLine\ndata: {")
    assert '"version":"3"' in event
    assert upstream.asked[0].last_event_id == "a:1"


def test_what_is_mounted_is_described() -> None:
    paths = openapi("Bank", "1", bound())["paths"]
    export = paths["/v1/accounts/{account_id}/statement:export"]["get"]["responses"]["200"]
    events = paths["/v1/events"]["get"]["responses"]["200"]
    assert export["content"]["*/*"]["schema"]["format"] == "binary"
    assert list(events["content"]) == ["text/event-stream"]
