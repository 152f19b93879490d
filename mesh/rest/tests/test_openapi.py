"""The document describes what is mounted."""

from __future__ import annotations

from typing import Any

from bank.pix.v1 import pix_pb2
from bank.transfers.v1 import transfers_pb2
from bank.users.v1 import users_pb2
from mesh.rest.binding import bindings
from mesh.rest.openapi import openapi

SERVICES = [
    transfers_pb2.DESCRIPTOR.services_by_name["TransfersService"],
    pix_pb2.DESCRIPTOR.services_by_name["PixService"],
    users_pb2.DESCRIPTOR.services_by_name["UsersService"],
]


def described(with_sandbox: bool = True) -> dict[str, Any]:
    return openapi("Bank", "1", bindings(SERVICES, with_sandbox=with_sandbox))


def references(value: Any) -> set[str]:
    if isinstance(value, dict):
        own = {value["$ref"]} if "$ref" in value else set()
        return own.union(*(references(member) for member in value.values()))
    if isinstance(value, list):
        return set().union(*(references(member) for member in value))
    return set()


def test_every_reference_is_there() -> None:
    document = described()
    names = {f"#/components/schemas/{name}" for name in document["components"]["schemas"]}

    assert references(document) <= names


def test_operation_ids_are_unique() -> None:
    operations = [op for verbs in described()["paths"].values() for op in verbs.values()]
    ids = [operation["operationId"] for operation in operations]

    assert len(ids) == len(set(ids))


def test_what_the_edge_sets_itself_is_no_part_of_the_body() -> None:
    operation = described()["paths"]["/v1/transfers"]["post"]
    body = operation["requestBody"]["content"]["application/json"]["schema"]

    assert body["properties"].keys().isdisjoint({"requestId", "wait"})
    required = {p["name"] for p in operation["parameters"] if p.get("required")}
    assert required == {"Idempotency-Key"}


def test_what_is_sent_is_closed_and_what_is_answered_is_open() -> None:
    document = described()
    body = document["paths"]["/v1/users"]["post"]["requestBody"]["content"]["application/json"]
    schemas = document["components"]["schemas"]

    assert body["schema"]["additionalProperties"] is False
    assert schemas["users.v1.NewCompany"]["additionalProperties"] is False
    assert "additionalProperties" not in schemas["users.v1.CreateUserResponse"]
    assert schemas["transfers.v1.Payee"]["oneOf"][1] == {"required": ["pixKey"]}


def test_the_sandbox_is_described_only_where_it_is_mounted() -> None:
    assert "/sandbox/v1/deposits" in described()["paths"]
    assert "/sandbox/v1/deposits" not in described(with_sandbox=False)["paths"]
