"""What the outside relies on: the OpenAPI document, the status of the command."""

from __future__ import annotations

import re

import httpx2 as httpx

from .bank import Bank


async def test_every_described_route_is_there(http: httpx.AsyncClient) -> None:
    document = (await http.get("/openapi.json")).json()

    assert document["openapi"].startswith("3.")
    assert document["paths"].keys() >= {"/v1/users", "/v1/transfers", "/v1/accounts/{account_id}"}
    for path, verbs in document["paths"].items():
        for verb in verbs:
            concrete = re.sub(r"{\w+}", "00000000-0000-0000-0000-000000000000", path)
            answer = await http.request(verb, concrete)
            if answer.status_code in (404, 405):
                assert answer.json()["reason"] not in ("ROUTE_NOT_FOUND", "METHOD_NOT_ALLOWED")


async def test_the_standard_pages_are_there(http: httpx.AsyncClient) -> None:
    for path in ("/healthz", "/readyz", "/docs", "/openapi.json", "/.well-known/jwks.json"):
        assert (await http.get(path)).status_code == 200, path


def test_the_status_is_as_designed(bank: Bank) -> None:
    status = bank.refresh()

    assert status["profile"] == "embedded"
    assert status["endpoints"].keys() >= {"rest", "dashboard", "traces", "otlp", "nats", "xds"}
    names = {service["name"] for service in status["services"]}
    assert names >= {
        "users", "accounts", "transfers", "pix", "statements", "notifications", "bff"
    }  # fmt: skip
    for service in status["services"]:
        assert service["version"]
        for instance in service["instances"]:
            assert instance.keys() >= {"id", "address", "pid", "state"}
