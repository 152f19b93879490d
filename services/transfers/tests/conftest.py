from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import pytest

from bank.transfers.v1.batches_pb2_grpc import TransferBatchesServiceStub
from bank.transfers.v1.recurring_pb2_grpc import RecurringTransfersServiceStub
from bank.transfers.v1.terms_pb2_grpc import TermsServiceStub
from bank.transfers.v1.transfers_pb2_grpc import TransfersServiceStub
from mesh.db import Database, open_database
from mesh.db.migrate import migrate
from mesh.events.envelope import seal
from mesh.testing.harness import running
from mesh.testing.postgres import postgres_url
from services.transfers import tables
from services.transfers.app import build

from .driver import Bank
from .stand_ins import Accounts, Pix, Suppliers

__all__ = ["postgres_url"]


@pytest.fixture(params=["sqlite", "postgresql"])
async def database(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Database]:
    """The service's own database, migrated: each test runs on both kinds."""
    url = f"sqlite:///{tmp_path}/transfers.db"
    if request.param == "postgresql":
        url = request.getfixturevalue("postgres_url")
    await asyncio.to_thread(migrate, url, Path(tables.__file__).parent / "migrations")
    database = await open_database(url, seal=partial(seal, source="transfers"))
    yield database
    await database.close()


@pytest.fixture
async def bank(tmp_path: Path) -> AsyncIterator[Bank]:
    """The service, running, with what it asks for."""
    accounts, pix, suppliers = Accounts(), Pix(), Suppliers()
    peers: dict[str, list[object]] = {
        "accounts": [accounts],
        "pix": [pix],
        "suppliers": [suppliers],
    }
    async with running(build, tmp_path, peers=peers) as service:
        yield Bank(
            service=service,
            accounts=accounts,
            pix=pix,
            suppliers=suppliers,
            stub=service.stub(TransfersServiceStub),
            recurring=service.stub(RecurringTransfersServiceStub),
            batches=service.stub(TransferBatchesServiceStub),
            terms=service.stub(TermsServiceStub),
            operator=service.stub(TermsServiceStub, workload="operator"),
            ana=accounts.open("ana", 100),
            bia=accounts.open("bia"),
        )
