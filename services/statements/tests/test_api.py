"""The door over real gRPC, with all that the contract promises."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from bank.accounts.v1 import events_pb2 as ledger
from bank.statements.v1 import statements_pb2 as pb
from bank.statements.v1.statements_pb2_grpc import StatementsServiceStub
from mesh.errors import InvalidArgument, NotFound, Unauthenticated
from mesh.ids import new_id
from mesh.testing.harness import Running, running
from services import wire
from services.money import Money
from services.statements.app import build

if TYPE_CHECKING:
    from bank.statements.v1.statements_pb2_grpc import StatementsServiceAsyncStub

ACCOUNT, OWNER = new_id(), new_id()


@pytest.fixture
async def statements(tmp_path: Path) -> AsyncIterator[Running]:
    async with running(build, tmp_path) as statements:
        await statements.tell(
            ledger.AccountOpened(account_id=ACCOUNT, company_id=new_id(), owner_id=OWNER)
        )
        for version in (1, 2, 3):
            await statements.tell(posted(version), version=version)
        yield statements


@pytest.fixture
def bff(statements: Running) -> StatementsServiceAsyncStub:
    return statements.stub(StatementsServiceStub)


def posted(version: int) -> ledger.EntryPosted:
    return ledger.EntryPosted(
        account_id=ACCOUNT,
        entry_id=f"entry-{version}",
        amount=wire.to_wire(Money(100, "BRL")),
        balance_after=wire.to_wire(Money(100 * version, "BRL")),
        version=version,
        occurred_at=wire.timestamp(version),
    )


async def test_an_owner_reads_page_by_page(
    statements: Running, bff: StatementsServiceAsyncStub
) -> None:
    with statements.signed_in(OWNER):
        first = await bff.GetStatement(pb.GetStatementRequest(account_id=ACCOUNT, page_size=2))
        rest = await bff.GetStatement(
            pb.GetStatementRequest(
                account_id=ACCOUNT, page_size=2, page_token=first.next_page_token
            )
        )

    assert [entry.version for entry in (*first.entries, *rest.entries)] == [3, 2, 1]
    assert (first.as_of_version, rest.next_page_token) == (3, "")


async def test_nobody_else_does(statements: Running, bff: StatementsServiceAsyncStub) -> None:
    request = pb.GetStatementRequest(account_id=ACCOUNT)
    with pytest.raises(Unauthenticated):
        await bff.GetStatement(request)
    with pytest.raises(NotFound) as foreign, statements.signed_in(new_id()):
        await bff.GetStatement(request)

    assert foreign.value.reason == "ACCOUNT_NOT_FOUND"


@pytest.mark.parametrize(
    "asked",
    [
        {"account_id": "no id"},
        {"account_id": ACCOUNT, "page_size": 101},
        {"account_id": ACCOUNT, "page_size": -1},
        {"account_id": ACCOUNT, "after_version": -1},
        {"account_id": ACCOUNT, "page_token": "made-up"},
    ],
)
async def test_what_makes_no_sense_is_refused(
    statements: Running, bff: StatementsServiceAsyncStub, asked: dict[str, Any]
) -> None:
    with pytest.raises(InvalidArgument), statements.signed_in(OWNER):
        await bff.GetStatement(pb.GetStatementRequest(**asked))


async def pieces(call: Any) -> list[Any]:
    return [piece async for piece in call]


@pytest.mark.parametrize(
    ("form", "media_type", "begins"),
    [
        (pb.STATEMENT_FORMAT_OFX, "application/x-ofx", b"OFXHEADER:100"),
        (pb.STATEMENT_FORMAT_CSV, "text/csv; charset=utf-8", "\ufeffData;".encode()),
        (pb.STATEMENT_FORMAT_PDF, "application/pdf", b"%PDF-"),
    ],
)
async def test_a_statement_is_written_as_a_file(
    statements: Running, form: Any, media_type: str, begins: bytes
) -> None:
    stub: Any = statements.stub(StatementsServiceStub)
    with statements.signed_in(OWNER):
        told = await pieces(
            stub.ExportStatement(pb.ExportStatementRequest(account_id=ACCOUNT, format=form))
        )

    assert {piece.body.content_type for piece in told} == {media_type}
    assert b"".join(piece.body.data for piece in told).startswith(begins)


async def test_only_readers_get_a_file(statements: Running) -> None:
    stub: Any = statements.stub(StatementsServiceStub)
    request = pb.ExportStatementRequest(account_id=ACCOUNT, format=pb.STATEMENT_FORMAT_CSV)
    with pytest.raises(grpc.aio.AioRpcError) as foreign, statements.signed_in(new_id()):
        await pieces(stub.ExportStatement(request))

    assert foreign.value.code() is grpc.StatusCode.NOT_FOUND


async def test_a_listener_hears_each_new_line_and_goes_on_where_it_stopped(
    statements: Running,
) -> None:
    stub: Any = statements.stub(StatementsServiceStub)
    with statements.signed_in(OWNER):
        first = stub.WatchEvents(pb.WatchEventsRequest(), timeout=30)
        hearing = aiter(first)
        assert (await anext(hearing)).event_id == f"{ACCOUNT}:3"
        await statements.tell(posted(4), version=4)
        told = await anext(hearing)
        while not told.HasField("statement_line"):
            told = await anext(hearing)
        first.cancel()
        await statements.tell(posted(5), version=5)
        again = stub.WatchEvents(pb.WatchEventsRequest(last_event_id=f"{ACCOUNT}:2"), timeout=30)
        missed = []
        async for each in again:
            if each.HasField("statement_line"):
                missed.append(each.statement_line.entry.version)
            if missed[-1:] == [5]:
                break
        again.cancel()

    assert (told.statement_line.account_id, told.statement_line.entry.version) == (ACCOUNT, 4)
    assert missed == [3, 4, 5]
