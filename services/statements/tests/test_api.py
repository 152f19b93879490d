"""The door over real gRPC, with all that the contract promises."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

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
