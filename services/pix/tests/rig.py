"""Pix over real gRPC, with a stand-in for the ledger."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import grpc.aio

from bank.accounts.v1 import accounts_pb2 as accounts
from bank.accounts.v1 import ledger_pb2 as ledger
from bank.accounts.v1.accounts_pb2_grpc import AccountsServiceServicer
from bank.accounts.v1.events_pb2 import AccountOpened
from bank.accounts.v1.ledger_pb2_grpc import LedgerServiceServicer
from bank.money.v1.money_pb2 import Money
from bank.pix.v1 import pix_pb2 as pb
from bank.pix.v1.pix_pb2_grpc import PixServiceStub
from bank.users.v1 import holders_pb2 as holders
from bank.users.v1.events_pb2 import MembershipChanged
from bank.users.v1.holders_pb2_grpc import HoldersServiceServicer
from bank.users.v1.users_pb2 import ROLE_OWNER, ROLE_VIEWER, Role
from mesh.errors import FailedPrecondition, NotFound
from mesh.ids import new_id
from mesh.testing.harness import Running, running
from mesh.testing.waiting import eventually
from services.pix.app import build

if TYPE_CHECKING:
    from bank.pix.v1.pix_pb2_grpc import PixServiceAsyncStub

S = TypeVar("S")

OWNER, STRANGER, VIEWER = new_id(), new_id(), new_id()
CPF, CNPJ, EMAIL = "52998224725", "16727230000197", "ana@padaria.example"
AMOUNT = Money(minor_units=100, currency_code="BRL")


def brl(minor_units: int) -> Money:
    return Money(minor_units=minor_units, currency_code="BRL")


class Accounts(AccountsServiceServicer):
    """A ledger that knows some accounts, and has closed some of them."""

    def __init__(self) -> None:
        self.known: set[str] = set()
        self.closed: set[str] = set()
        self.entries: dict[str, accounts.PostEntryRequest] = {}
        self.balances: Counter[str] = Counter()
        self.holds: dict[str, accounts.PlaceHoldRequest] = {}
        self.given: dict[str, accounts.PostHoldRequest] = {}
        self.released: set[str] = set()
        self.lines: list[ledger.PostedLine] = []

    def open(self) -> str:
        account_id = new_id()
        self.known.add(account_id)
        return account_id

    def post(self, account_id: str, entry_id: str, minor_units: int) -> None:
        self.balances[account_id] += minor_units
        if account_id == "pix-clearing":
            version = len(self.lines) + 1
            line = ledger.PostedLine(version=version, entry_id=entry_id, amount=brl(minor_units))
            self.lines.append(line)

    async def DescribeAccount(
        self, request: accounts.DescribeAccountRequest, context: Any
    ) -> accounts.DescribeAccountResponse:
        if request.account_id not in self.known:
            raise NotFound("ACCOUNT_NOT_FOUND", "There is no such account.")
        return accounts.DescribeAccountResponse(currency_code="BRL")

    async def PostEntry(
        self, request: accounts.PostEntryRequest, context: Any
    ) -> accounts.PostEntryResponse:
        if self.closed & {posting.account_id for posting in request.postings}:
            raise FailedPrecondition("ACCOUNT_CLOSED", "The account is closed.")
        if request.entry_id not in self.entries:
            for posting in request.postings:
                self.post(posting.account_id, request.entry_id, posting.amount.minor_units)
        self.entries[request.entry_id] = request
        return accounts.PostEntryResponse()

    async def PlaceHold(
        self, request: accounts.PlaceHoldRequest, context: Any
    ) -> accounts.PlaceHoldResponse:
        if request.hold_id not in self.holds:
            if self.balances[request.account_id] < request.amount.minor_units:
                raise FailedPrecondition("INSUFFICIENT_FUNDS", "There is not so much.")
            self.balances[request.account_id] -= request.amount.minor_units
            self.holds[request.hold_id] = request
        return accounts.PlaceHoldResponse()

    async def PostHold(
        self, request: accounts.PostHoldRequest, context: Any
    ) -> accounts.PostHoldResponse:
        if request.hold_id not in self.given:
            self.given[request.hold_id] = request
            amount = self.holds[request.hold_id].amount.minor_units
            self.post(request.payee_account_id, request.hold_id, amount)
        return accounts.PostHoldResponse()

    async def ReleaseHold(
        self, request: accounts.ReleaseHoldRequest, context: Any
    ) -> accounts.ReleaseHoldResponse:
        if request.hold_id in self.holds and request.hold_id not in self.released:
            held = self.holds[request.hold_id]
            self.balances[held.account_id] += held.amount.minor_units
        self.released.add(request.hold_id)
        return accounts.ReleaseHoldResponse()

    def GetBalance(self, request: Any, context: Any) -> Any:
        raise NotImplementedError

    def ReverseEntry(self, request: Any, context: Any) -> Any:
        raise NotImplementedError

    def GetAccount(self, request: Any, context: Any) -> Any:
        raise NotImplementedError

    def ListAccounts(self, request: Any, context: Any) -> Any:
        raise NotImplementedError

    def CloseAccount(self, request: Any, context: Any) -> Any:
        raise NotImplementedError

    def VerifyLedger(self, request: Any, context: Any) -> Any:
        raise NotImplementedError


class Ledger(LedgerServiceServicer):
    """The lines of the clearing account."""

    def __init__(self, books: Accounts) -> None:
        self.books = books

    async def ListPostings(
        self, request: ledger.ListPostingsRequest, context: Any
    ) -> ledger.ListPostingsResponse:
        lines = [line for line in self.books.lines if line.version > request.after_version]
        return ledger.ListPostingsResponse(postings=lines[: request.page_size])

    def LookUpBalance(self, request: Any, context: Any) -> Any:
        raise NotImplementedError

    def CompareSeals(self, request: Any, context: Any) -> Any:
        raise NotImplementedError

    def LookUpEntries(self, request: Any, context: Any) -> Any:
        raise NotImplementedError

    def GetTrialBalance(self, request: Any, context: Any) -> Any:
        raise NotImplementedError

    def BlockAccount(self, request: Any, context: Any) -> Any:
        raise NotImplementedError

    def UnblockAccount(self, request: Any, context: Any) -> Any:
        raise NotImplementedError

    def LimitAccount(self, request: Any, context: Any) -> Any:
        raise NotImplementedError


class Holders(HoldersServiceServicer):
    """Users, as pix asks them: every company is that of one person."""

    async def GetHolder(
        self, request: holders.GetHolderRequest, context: Any
    ) -> holders.GetHolderResponse:
        return holders.GetHolderResponse(
            legal_name="Padaria Pão Quente Ltda",
            cnpj=CNPJ,
            owner_cpf=CPF,
            user_email=EMAIL if request.user_id == OWNER else "",
        )


@dataclass
class Rail:
    """The service and its ledger, as transfers and the outside meet it."""

    service: Running
    ledger: Accounts
    transfers: PixServiceAsyncStub
    outside: PixServiceAsyncStub

    async def sent(self, request: pb.SendPaymentRequest) -> pb.Payment:
        """Sends a payment, and asks until the rail has answered."""
        payment = (await self.transfers.SendPayment(request)).payment

        async def is_answered() -> bool:
            nonlocal payment
            payment = (await self.transfers.SendPayment(request)).payment
            return payment.status != pb.PAYMENT_STATUS_PENDING

        await eventually(is_answered)
        return payment

    def stub(self, stub_class: Callable[[grpc.aio.Channel], S]) -> S:
        return self.service.stub(stub_class)

    async def open(self, user_id: str, role: Role.ValueType = ROLE_OWNER) -> str:
        """Opens the account of a company of a user, as accounts and users tell it."""
        account_id, company_id = self.ledger.open(), new_id()
        await self.service.tell(
            AccountOpened(account_id=account_id, company_id=company_id, owner_id=user_id)
        )
        await self.service.tell(
            MembershipChanged(company_id=company_id, user_id=user_id, role=role)
        )
        await self.service.tell(
            MembershipChanged(company_id=company_id, user_id=VIEWER, role=ROLE_VIEWER)
        )
        return account_id

    async def receive(self, account_id: str, minor_units: int) -> pb.Deposit:
        request = pb.CreateDepositRequest(account_id=account_id, amount=brl(minor_units))
        request.wait.seconds = 4
        return (await self.outside.CreateDeposit(request)).deposit


@asynccontextmanager
async def a_rail(tmp_path: Path, database_url: str = "") -> AsyncIterator[Rail]:
    books = Accounts()
    peers: dict[str, list[object]] = {"accounts": [books, Ledger(books)], "users": [Holders()]}
    async with running(build, tmp_path, peers=peers, database_url=database_url) as service:
        yield Rail(
            service,
            books,
            service.stub(PixServiceStub, workload="transfers"),
            service.stub(PixServiceStub),
        )
