"""How often one may ask: by person, by address, and by what a request is about."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import httpx2 as httpx
import pytest
from google.protobuf.message import Message
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import Request

from bank.users.v1 import users_pb2 as pb
from mesh.auth.exchange import Exchange
from mesh.auth.usage import Usage
from mesh.errors import Unauthenticated
from mesh.rest import rates as module
from mesh.rest.binding import bindings
from mesh.rest.edge import Edge
from mesh.rest.problem import Problem
from mesh.rest.rates import Addresses, Rate, Rates
from meshapi.v1 import options_pb2
from meshapi.v1.tokens_pb2 import (
    Allowance,
    CountUsesRequest,
    CountUsesResponse,
    ExchangeTokenRequest,
    ExchangeTokenResponse,
    KeyPlan,
)

USERS = pb.DESCRIPTOR.services_by_name["UsersService"]


@dataclass
class World:
    """An edge whose clock stands still, and what is answered behind it."""

    now: float = 1_000.0
    asked: int = 0
    knows: bool = True
    http: httpx.AsyncClient = field(init=False)
    rates: Rates = field(init=False)

    async def answer(self, request: Any) -> Message:
        self.asked += 1
        if isinstance(request, pb.CreateSessionRequest):
            if not self.knows:
                raise Unauthenticated("WRONG_PASSWORD", "no")
            return pb.CreateSessionResponse()
        return pb.GetMeResponse()

    async def sign_in(self, email: str = "ana@example.com") -> httpx.Response:
        return await self.http.post("/v1/sessions", json={"email": email, "password": "x"})


async def count(request: CountUsesRequest) -> CountUsesResponse:
    return CountUsesResponse(allowance=Allowance(remaining=0, resets_in=60))


async def trade(request: ExchangeTokenRequest) -> ExchangeTokenResponse:
    # Two tokens of one person begin alike.
    subject = request.access_token.partition(".")[0]
    if subject == "bank_live_till":
        plan = KeyPlan(per_second=1, burst=3, allowance=Allowance(remaining=4, resets_in=60))
        return ExchangeTokenResponse(
            internal_token="inside",
            expires_in=300,
            subject=subject,
            plan=plan,
        )
    return ExchangeTokenResponse(internal_token="inside", expires_in=300, subject=subject)


def policy_of(method: str) -> options_pb2.Policy:
    return USERS.methods_by_name[method].GetOptions().Extensions[options_pb2.policy]


@pytest.fixture
async def world() -> AsyncIterator[World]:
    world = World()
    calls = [(binding, world.answer) for binding in bindings([USERS], with_sandbox=False)]
    world.rates = Rates(clock=lambda: world.now)
    edge = Edge(calls, Exchange(trade), Usage(count), world.rates)
    transport = httpx.ASGITransport(edge.app())
    async with httpx.AsyncClient(transport=transport, base_url="http://edge") as http:
        world.http = http
        yield world


async def test_an_account_is_signed_in_to_so_often_and_then_is_not(world: World) -> None:
    answers = [await world.sign_in() for _ in range(21)]

    assert [answer.status_code for answer in answers] == [201] * 20 + [429]
    refused = answers[-1]
    assert (refused.json()["reason"], refused.headers["retry-after"]) == ("RATE_LIMITED", "3")
    assert refused.headers["ratelimit"] == '"CreateSession-2";r=0;t=3'
    assert refused.headers["ratelimit-policy"] == '"CreateSession-2";q=20;w=60'
    assert refused.headers["content-type"] == "application/problem+json"
    assert world.asked == 20
    assert (await world.sign_in("Ana@Example.com ")).status_code == 429
    assert (await world.sign_in("bruno@example.com")).status_code == 201
    world.now += 3
    assert (await world.sign_in()).status_code == 201


async def test_who_guesses_at_many_accounts_is_stopped_and_who_knows_is_not(world: World) -> None:
    world.knows = False
    guesses = world.rates.of(policy_of("CreateSession"), "CreateSession")[2]
    world.rates.take(guesses, "127.0.0.1", 490)
    answers = [await world.sign_in(f"{number}@example.com") for number in range(11)]
    assert [answer.status_code for answer in answers] == [401] * 10 + [429]

    world.now += 60
    world.knows = True
    answers = [await world.sign_in(f"{number}@example.net") for number in range(90)]
    assert {answer.status_code for answer in answers} == {201}


async def test_a_person_has_one_bucket_whatever_token_they_show(world: World) -> None:
    async def ask(token: str) -> httpx.Response:
        return await world.http.get("/v1/me", headers={"Authorization": f"Bearer {token}"})

    assert (await ask("ana.1")).headers["ratelimit"] == '"person";r=399;t=1'
    world.rates.take(world.rates.person, "ana", 398)
    answers = [await ask("ana.2"), await ask("ana.3")]

    assert [answer.status_code for answer in answers] == [200, 429]
    assert answers[-1].headers["retry-after"] == "1"
    assert (await ask("bruno.1")).status_code == 200


async def test_a_key_has_the_rate_and_the_quota_of_its_plan_however_it_is_shown(
    world: World,
) -> None:
    shown = {"X-Api-Key": "bank_live_till"}, {"Authorization": "Bearer bank_live_till"}
    answers = [await world.http.get("/v1/me", headers=shown[number % 2]) for number in range(4)]
    assert [answer.status_code for answer in answers] == [200] * 3 + [429]
    assert answers[-1].headers["ratelimit-policy"] == '"key";q=3;w=3'

    world.now += 60
    answers = [await world.http.get("/v1/me", headers=shown[0]) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [200, 429]
    assert answers[-1].json()["reason"] == "QUOTA_EXCEEDED"
    assert answers[-1].headers["retry-after"] == "60"


async def test_an_address_has_one_bucket_whatever_it_asks_for(world: World) -> None:
    world.rates.take(world.rates.address, "127.0.0.1", 1_999)
    assert (await world.http.get("/v1/me")).status_code == 401
    answer = await world.http.get("/v1/nothing")
    assert (answer.status_code, answer.json()["reason"]) == (429, "RATE_LIMITED")


def test_without_a_scale_nothing_is_limited() -> None:
    rates = Rates(0)
    for _ in range(3_000):
        rates.take(rates.person, "ana")
    assert rates.of(policy_of("CreateSession"), "CreateSession") == ()


@given(
    st.floats(0.01, 1_000), st.integers(1, 500), st.lists(st.floats(0, 10), min_size=1, max_size=80)
)
def test_no_more_is_let_through_than_the_burst_and_what_time_adds(
    per_second: float, burst: int, waits: list[float]
) -> None:
    now = 0.0
    rates, rate = Rates(clock=lambda: now), Rate("r", per_second, burst)
    passed = 0
    for wait in waits:
        now += wait
        try:
            rates.take(rate, "ana")
            passed += 1
        except Problem as problem:
            now += int(problem.headers["Retry-After"])
            rates.take(rate, "ana")
            passed += 1
    assert passed <= burst + now * per_second + 1


def test_the_table_of_buckets_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_BUCKETS", 3)
    rates, rate = Rates(clock=lambda: 0.0), Rate("r", 1, 1)
    for who in ("a", "b", "c", "d"):
        rates.take(rate, who)
    rates.take(rate, "a")
    for who in ("c", "d"):
        with pytest.raises(Problem):
            rates.take(rate, who)


def request(client: str, forwarded: str = "") -> Request:
    headers = [(b"x-forwarded-for", forwarded.encode())] if forwarded else []
    return Request({"type": "http", "client": (client, 1), "headers": headers})


@pytest.mark.parametrize(
    ("proxies", "client", "forwarded", "address"),
    [
        ("", "203.0.113.7", "198.51.100.1", "203.0.113.7"),
        ("10.0.0.0/8", "203.0.113.7", "198.51.100.1", "203.0.113.7"),
        ("10.0.0.0/8", "10.1.1.1", "198.51.100.1", "198.51.100.1"),
        ("10.0.0.0/8", "10.1.1.1", "192.0.2.66, 198.51.100.1", "198.51.100.1"),
        ("10.0.0.0/8", "10.1.1.1", "198.51.100.1, 10.2.2.2", "198.51.100.1"),
        ("10.0.0.0/8", "10.1.1.1", "me", "10.1.1.1"),
        ("10.0.0.0/8", "10.1.1.1", "", "10.1.1.1"),
        ("", "2001:db8::1:2:3:4", "", "2001:db8::/64"),
        ("", "::ffff:203.0.113.7", "", "203.0.113.7"),
    ],
)
def test_a_client_is_its_socket_unless_a_trusted_proxy_says_otherwise(
    proxies: str, client: str, forwarded: str, address: str
) -> None:
    assert Addresses(proxies).of(request(client, forwarded)) == address
