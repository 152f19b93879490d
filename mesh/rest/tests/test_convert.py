"""Messages and JSON: what one side writes the other reads, and nothing else is let in."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf import json_format
from hypothesis import given
from hypothesis import strategies as st

from bank.money.v1.money_pb2 import Money
from bank.statements.v1.statements_pb2 import GetStatementRequest
from bank.transfers.v1 import transfers_pb2 as pb
from mesh.errors import InvalidArgument
from mesh.rest.convert import fill, fill_from_text, to_json

INT64 = st.integers(-(2**63), 2**63 - 1)
TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=40)


@st.composite
def transfers(draw: st.DrawFn) -> pb.Transfer:
    transfer = pb.Transfer(
        transfer_id=draw(TEXT),
        amount=Money(minor_units=draw(INT64), currency_code=draw(TEXT)),
        status=draw(st.sampled_from(pb.TransferStatus.values())),
        description=draw(TEXT),
    )
    if draw(st.booleans()):
        transfer.payee.account_id = draw(TEXT)
    elif draw(st.booleans()):
        transfer.payee.pix_key = draw(TEXT)
    transfer.created_at.FromMicroseconds(draw(st.integers(0, 4_000_000_000_000_000)))
    return transfer


@given(transfers())
def test_what_is_written_is_read_back(transfer: pb.Transfer) -> None:
    again = pb.Transfer()
    fill(again, to_json(transfer))

    assert again == transfer


@given(transfers())
def test_canonical_json_is_read(transfer: pb.Transfer) -> None:
    again = pb.Transfer()
    fill(again, json_format.MessageToDict(transfer))

    assert again == transfer


@given(transfers())
def test_names_of_the_contract_are_read(transfer: pb.Transfer) -> None:
    again = pb.Transfer()
    fill(again, json_format.MessageToDict(transfer, preserving_proto_field_name=True))

    assert again == transfer


def test_an_enum_value_loses_the_prefix_of_its_type() -> None:
    assert to_json(pb.Transfer(status=pb.TRANSFER_STATUS_COMPLETED))["status"] == "COMPLETED"


def test_sixty_four_bits_travel_as_a_string() -> None:
    assert to_json(Money(minor_units=2**63 - 1))["minorUnits"] == str(2**63 - 1)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"amount": {"minorUnits": 1.5}}, "amount.minorUnits"),
        ({"amount": {"minorUnits": 1.0}}, "amount.minorUnits"),
        ({"amount": {"minorUnits": True}}, "amount.minorUnits"),
        ({"amount": {"minorUnits": "1e3"}}, "amount.minorUnits"),
        ({"amount": {"minorUnits": 2**63}}, "amount.minorUnits"),
        ({"amount": {"minorUnits": str(-(2**63) - 1)}}, "amount.minorUnits"),
        ({"amount": "1"}, "amount"),
        ({"surprise": 1}, "surprise"),
        ({"payee": {"accountId": "a", "pixKey": "b"}}, "payee.pixKey"),
        ({"description": "a", "Description": "b"}, "Description"),
        ({"requestId": "a", "request_id": "b"}, "request_id"),
        ({"scheduledFor": "yesterday"}, "scheduledFor"),
        ({"description": "\ud800"}, "description"),
        ({"description": "a\0b"}, "description"),
        ([], ""),
        (None, ""),
    ],
)
def test_what_does_not_fit_is_refused_with_its_path(body: Any, field: str) -> None:
    with pytest.raises(InvalidArgument) as refusal:
        fill(pb.CreateTransferRequest(), body)

    assert [violation.field for violation in refusal.value.violations] == [field]


def test_every_fault_is_told_at_once() -> None:
    with pytest.raises(InvalidArgument) as refusal:
        fill(pb.CreateTransferRequest(), {"amount": {"minorUnits": "x"}, "surprise": 1})

    assert len(refusal.value.violations) == 2


def test_parameters_of_a_url_are_read() -> None:
    request = GetStatementRequest()
    fill_from_text(request, [("from", "2026-01-31"), ("pageSize", "3"), ("after", "7")])

    assert request.from_time.ToJsonString() == "2026-01-31T00:00:00Z"
    assert (request.page_size, request.after_version) == (3, 7)


def test_an_unknown_parameter_of_a_url_is_refused() -> None:
    with pytest.raises(InvalidArgument):
        fill_from_text(GetStatementRequest(), [("limit", "3")])
