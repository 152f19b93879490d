"""The statements service on a real database, and a ledger that tells it things."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

from google.protobuf.message import Message

from bank.accounts.v1 import events_pb2 as ledger
from bank.statements.v1 import statements_pb2 as pb
from bank.users.v1 import events_pb2 as users
from bank.users.v1 import users_pb2
from mesh.chassis import Chassis
from mesh.db import Database, UnitOfWork
from mesh.events import Event
from mesh.ids import new_id
from mesh.rpc import Caller, Context, User
from mesh.rpc.context import Outgoing, outgoing
from services import wire
from services.money import Money
from services.statements import handlers, store
from services.statements.api import StatementsApi
from services.statements.clients import Holders
from services.statements.domain import Arrivals

VERSIONS = Path(store.__file__).parent / "migrations"

# No method looks at it.
CONTEXT = cast(Context, None)

# The first entry's time; each later one comes a second after.
BEGINNING_US = 1_800_000_000_000_000
SECOND_US = 1_000_000


def brl(minor_units: int) -> Money:
    return Money(minor_units, "BRL")


class Statements:
    def __init__(self, database: Database) -> None:
        self.database = database
        self.arrivals = Arrivals()
        # Of what a chassis gives, the door needs the one that the database has too.
        self.api = StatementsApi(cast(Chassis, database), self.arrivals, cast(Holders, None))
        self.projection = handlers.lines(self.arrivals)
        self.owner, self.company, self.account = new_id(), new_id(), new_id()

    @property
    def is_watched(self) -> bool:
        return self.account in self.arrivals.watched

    async def apply(self, *told: Message) -> None:
        """Applies events in one transaction, as the projection's loop does."""

        async def unit(work: UnitOfWork) -> None:
            for data in told:
                await self.projection.on[type(data)](work, an_event(data))

        await self.database.transact(unit)

    async def open(self) -> None:
        await self.apply(
            ledger.AccountOpened(
                account_id=self.account, company_id=self.company, owner_id=self.owner
            )
        )

    async def change_member(self, user_id: str, role: str) -> None:
        value = users_pb2.Role.Value(f"ROLE_{role}")
        await self.apply(
            users.MembershipChanged(company_id=self.company, user_id=user_id, role=value)
        )

    def posted(self, version: int, amount: int = 100) -> ledger.EntryPosted:
        """Tells of the entry with a number; each adds the same."""
        return ledger.EntryPosted(
            account_id=self.account,
            entry_id=f"entry-{version}",
            transfer_id=f"transfer-{version}",
            amount=wire.to_wire(brl(amount)),
            balance_after=wire.to_wire(brl(amount * version)),
            version=version,
            counterparty="Outro Banco",
            description="aluguel",
            occurred_at=wire.timestamp(BEGINNING_US + version * SECOND_US),
        )

    async def post(self, *versions: int) -> None:
        await self.apply(*(self.posted(version) for version in versions))

    async def get(self, user_id: str = "", **asked: Any) -> pb.GetStatementResponse:
        request = pb.GetStatementRequest(**({"account_id": self.account} | asked))
        user = User(user_id=user_id or self.owner, session_id="session")
        with outgoing(Outgoing(caller=Caller("bff", user))):
            return await self.api.GetStatement(request, CONTEXT)

    async def versions(self, user_id: str = "", **asked: Any) -> list[int]:
        return [entry.version for entry in (await self.get(user_id, **asked)).entries]


def an_event(data: Message) -> Event[Any]:
    return Event(
        id=new_id(),
        type=data.DESCRIPTOR.full_name,
        source="test",
        subject="",
        key="",
        version=0,
        time_us=0,
        traceparent="",
        data=data,
        stream="",
        sequence=0,
    )
