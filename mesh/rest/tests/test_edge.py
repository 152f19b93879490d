"""The edge over ASGI, with calls that a test answers itself."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx2 as httpx
import pytest
from google.protobuf.message import Message
from opentelemetry import baggage, trace

from bank.transfers.v1 import transfers_pb2 as pb
from mesh import errors
from mesh.auth.exchange import Exchange
from mesh.auth.usage import Usage
from mesh.ids import new_id
from mesh.rest.binding import bindings
from mesh.rest.body import MAX_BODY_BYTES
from mesh.rest.edge import Edge
from mesh.rpc.consistency import Told, read_token
from mesh.rpc.context import current
from meshapi.v1.tokens_pb2 import (
    CountUsesRequest,
    CountUsesResponse,
    ExchangeTokenRequest,
    ExchangeTokenResponse,
)

TRANSFERS = pb.DESCRIPTOR.services_by_name["TransfersService"]
BODY = {
    "payerAccountId": "00000000-0000-0000-0000-000000000001",
    "payee": {"pixKey": "ana@example.com"},
    "amount": {"minorUnits": "100", "currencyCode": "BRL"},
}
HEADERS = {"Authorization": "Bearer token", "Idempotency-Key": "key"}


class Upstream:
    """Answers every call, and remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[Any] = []
        self.tokens: list[str | None] = []
        self.answer: Callable[[Any], Message] = lambda request: pb.CreateTransferResponse()
        self.replays = False
        self.told: set[Told] = set()
        self.after: list[str] = []

    async def __call__(self, request: Message) -> Message:
        out = current.get()
        assert out is not None
        self.asked.append(request)
        self.tokens.append(out.token)
        self.after.append(out.after)
        out.replayed = self.replays
        out.told |= self.told
        return self.answer(request)


async def count(request: CountUsesRequest) -> CountUsesResponse:
    return CountUsesResponse()


async def trade(request: ExchangeTokenRequest) -> ExchangeTokenResponse:
    return ExchangeTokenResponse(internal_token=f"inside {request.access_token}", expires_in=300)


@pytest.fixture
def upstream() -> Upstream:
    return Upstream()


@pytest.fixture
async def http(upstream: Upstream) -> AsyncIterator[httpx.AsyncClient]:
    calls = [(binding, upstream) for binding in bindings([TRANSFERS], with_sandbox=False)]
    transport = httpx.ASGITransport(Edge(calls, Exchange(trade), Usage(count)).app())
    async with httpx.AsyncClient(transport=transport, base_url="http://edge") as client:
        yield client


async def test_body_and_headers_become_the_request(
    http: httpx.AsyncClient, upstream: Upstream
) -> None:
    answer = await http.post("/v1/transfers", json=BODY, headers={**HEADERS, "Prefer": "wait=3"})

    assert answer.status_code == 201
    assert answer.headers["preference-applied"] == "wait=3"
    [request] = upstream.asked
    assert (request.request_id, request.payee.pix_key) == ("key", "ana@example.com")
    assert (request.amount.minor_units, request.wait.seconds) == (100, 3)
    assert upstream.tokens == ["inside token"]


async def test_an_answer_is_held_back_for_a_second_unless_asked_otherwise(
    http: httpx.AsyncClient, upstream: Upstream
) -> None:
    await http.post("/v1/transfers", json=BODY, headers=HEADERS)
    await http.post("/v1/transfers", json=BODY, headers={**HEADERS, "Prefer": "wait=9999"})

    assert [request.wait.seconds for request in upstream.asked] == [1, 4]


async def test_the_path_becomes_a_field(http: httpx.AsyncClient, upstream: Upstream) -> None:
    answer = await http.post("/v1/transfers/abc:cancel", headers=HEADERS)

    assert answer.status_code == 200
    assert upstream.asked == [pb.CancelTransferRequest(transfer_id="abc")]


async def test_a_repeated_answer_says_so(http: httpx.AsyncClient, upstream: Upstream) -> None:
    upstream.replays = True

    answer = await http.post("/v1/transfers", json=BODY, headers=HEADERS)

    assert answer.headers["idempotent-replayed"] == "true"


def refusing(error: Exception) -> Callable[[Any], Message]:
    def refuse(request: Any) -> Message:
        raise error

    return refuse


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (errors.InvalidArgument("R", "no", errors.Violation("a", "b")), 400),
        (errors.Unauthenticated("R", "no"), 401),
        (errors.PermissionDenied("R", "no"), 403),
        (errors.StepUpRequired(300, "R"), 403),
        (errors.NotFound("R", "no"), 404),
        (errors.AlreadyExists("R", "no"), 409),
        (errors.FailedPrecondition("R", "no"), 422),
        (errors.Overloaded("R", "no", 7), 429),
        (errors.Transient("R", "no"), 503),
        (errors.DeadlineExceeded("R", "no"), 504),
    ],
)
async def test_an_error_is_a_problem(
    http: httpx.AsyncClient, upstream: Upstream, error: errors.Error, status: int
) -> None:
    upstream.answer = refusing(error)

    answer = await http.post("/v1/transfers", json=BODY, headers=HEADERS)

    problem = answer.json()
    assert answer.headers["content-type"] == "application/problem+json"
    assert (answer.status_code, problem["status"], problem["reason"]) == (status, status, "R")
    assert problem["traceId"] == answer.headers["traceresponse"].split("-")[1]
    if isinstance(error, errors.Overloaded):
        assert answer.headers["retry-after"] == "7"
    if isinstance(error, errors.StepUpRequired):
        assert problem["stepUp"] == {"maxAge": 300}
        assert 'max_age="300"' in answer.headers["www-authenticate"]
    if isinstance(error, errors.InvalidArgument):
        assert problem["violations"] == [{"field": "a", "description": "b"}]


async def test_a_bug_tells_nothing_of_itself(
    http: httpx.AsyncClient, upstream: Upstream, caplog: pytest.LogCaptureFixture
) -> None:
    upstream.answer = refusing(ZeroDivisionError("secret"))

    answer = await http.post("/v1/transfers", json=BODY, headers=HEADERS)

    assert (answer.status_code, answer.json()["reason"]) == (500, "INTERNAL")
    assert "secret" not in answer.text


async def test_a_key_used_for_another_request_is_unprocessable(
    http: httpx.AsyncClient, upstream: Upstream
) -> None:
    upstream.answer = refusing(errors.AlreadyExists("REQUEST_ID_TAKEN", "no"))

    answer = await http.post("/v1/transfers", json=BODY, headers=HEADERS)

    assert (answer.status_code, answer.json()["reason"]) == (422, "IDEMPOTENCY_KEY_REUSED")


@pytest.mark.parametrize(
    ("headers", "content", "status"),
    [
        ({"Authorization": "Bearer t"}, b"{}", 400),
        ({"Idempotency-Key": "k"}, b"{}", 401),
        ({**HEADERS, "Authorization": "Basic dTpw"}, b"{}", 401),
        ({**HEADERS, "Authorization": "Bearer let me in"}, b"{}", 401),
        ({**HEADERS, "Idempotency-Key": "k" * 256}, b"{}", 400),
        ({**HEADERS, "Content-Type": "text/plain"}, b"{}", 415),
        (HEADERS, b"{" + b" " * MAX_BODY_BYTES + b"}", 413),
        (HEADERS, b'{"a": 1, "a": 2}', 400),
        (HEADERS, b'{"amount": {"minorUnits": 1.0}}', 400),
        (HEADERS, b'{"amount": Infinity}', 400),
        (HEADERS, b"\xff", 400),
        (HEADERS, b"[" * 30_000, 400),
        (HEADERS, b'{"amount":' * 33 + b"1" + b"}" * 33, 400),
        (HEADERS, b"\xef\xbb\xbf{}", 400),
        (HEADERS, b'{"amount": {"minorUnits": ' + b"9" * 5_000 + b"}}", 400),
    ],
)
async def test_what_is_no_request_never_reaches_a_service(
    http: httpx.AsyncClient,
    upstream: Upstream,
    headers: dict[str, str],
    content: bytes,
    status: int,
) -> None:
    answer = await http.post("/v1/transfers", content=content, headers=headers)

    assert answer.status_code == status, answer.text
    assert answer.json()["reason"]
    assert upstream.asked == []


async def test_a_verb_that_is_not_served_is_told_which_are(http: httpx.AsyncClient) -> None:
    answer = await http.put("/v1/transfers", headers=HEADERS)

    assert (answer.status_code, answer.json()["reason"]) == (405, "METHOD_NOT_ALLOWED")
    assert answer.headers["allow"] == "GET, HEAD, POST"


async def test_a_custom_verb_is_no_part_of_a_variable(
    http: httpx.AsyncClient, upstream: Upstream
) -> None:
    answer = await http.get("/v1/transfers/abc:cancel", headers=HEADERS)

    assert (answer.status_code, answer.headers["allow"]) == (405, "POST")
    assert upstream.asked == []


async def test_a_violation_names_the_field_as_json_does(
    http: httpx.AsyncClient, upstream: Upstream
) -> None:
    violation = errors.Violation("payee.pix_key", "no")
    upstream.answer = refusing(errors.InvalidArgument("R", "no", violation))

    answer = await http.post("/v1/transfers", json=BODY, headers=HEADERS)

    assert answer.json()["violations"] == [{"field": "payee.pixKey", "description": "no"}]


async def test_a_body_without_a_length_is_bounded_too(
    http: httpx.AsyncClient, upstream: Upstream
) -> None:
    async def endless() -> AsyncIterator[bytes]:
        for _ in range(100):
            yield b" " * 1_000
            await asyncio.sleep(0)

    answer = await http.post("/v1/transfers", content=endless(), headers=HEADERS)

    assert answer.status_code == 413
    assert upstream.asked == []


async def test_a_trace_from_outside_is_not_continued(http: httpx.AsyncClient) -> None:
    theirs = "4bf92f3577b34da6a3ce929d0e0e4736"
    headers = {**HEADERS, "traceparent": f"00-{theirs}-00f067aa0ba902b7-01"}

    answer = await http.post("/v1/transfers", json=BODY, headers=headers)

    assert theirs not in answer.headers["traceresponse"]


async def test_baggage_from_outside_goes_nowhere(
    http: httpx.AsyncClient, upstream: Upstream
) -> None:
    carried: list[object] = []

    def answer(request: Any) -> Message:
        span = trace.get_current_span().get_span_context()
        carried.extend((dict(baggage.get_all()), dict(span.trace_state)))
        return pb.CreateTransferResponse()

    upstream.answer = answer
    outside = {"baggage": "role=admin", "tracestate": "a=b"}
    await http.post("/v1/transfers", json=BODY, headers={**HEADERS, **outside})

    assert carried == [{}, {}]


async def test_a_command_gives_a_token_and_a_read_takes_it(
    http: httpx.AsyncClient, upstream: Upstream
) -> None:
    upstream.told = {Told("bank.transfers.v1.TransferCreated", "t", new_id())}
    answer = await http.post("/v1/transfers", json=BODY, headers=HEADERS)
    token = answer.headers["consistency-token"]
    assert set(read_token(token)) == upstream.told
    upstream.told = set()
    upstream.answer = lambda request: pb.ListTransfersResponse()

    in_header = {**HEADERS, "Consistency-Token": token}
    in_query: tuple[dict[str, str], dict[str, str]] = (HEADERS, {"after": token})
    for headers, query in ((in_header, {}), in_query):
        answer = await http.get("/v1/transfers", headers=headers, params=query)
        assert (answer.status_code, upstream.after[-1]) == (200, token)
        assert "consistency-token" not in answer.headers

    answer = await http.get("/v1/transfers", headers={**HEADERS, "Consistency-Token": "made up"})
    assert (answer.status_code, answer.json()["reason"]) == (400, "CONSISTENCY_TOKEN_INVALID")


async def test_a_read_that_is_behind_is_a_202_with_a_hint(
    http: httpx.AsyncClient, upstream: Upstream
) -> None:
    def behind(request: Any) -> Message:
        raise errors.Behind("READ_IS_BEHIND", "What you ask for is not here yet; ask again.", 1.0)

    upstream.answer = behind
    answer = await http.get("/v1/transfers", headers=HEADERS)

    assert (answer.status_code, answer.headers["retry-after"]) == (202, "1")
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["reason"] == "READ_IS_BEHIND"
