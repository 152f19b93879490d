"""Speaks `bank.accounts.v1`, and decides nothing."""

from __future__ import annotations

from collections.abc import Iterable

from bank.accounts.v1 import accounts_pb2 as pb
from bank.accounts.v1.accounts_pb2_grpc import AccountsServiceServicer
from mesh.chassis import Chassis
from mesh.clock import now_us
from mesh.db import UniqueViolated
from mesh.errors import FailedPrecondition, NotFound
from mesh.rpc import Context, caller
from services import wire
from services.money import Money

from . import domain, store
from .domain import Account, Entry, Hold, HoldPosting, Posting, Reversal

POST = store.by_the_books(domain.post)
REFUSE = store.by_the_books(domain.refuse)
PLACE_HOLD = store.by_the_books(domain.place_hold)
POST_HOLD = store.by_the_books(domain.post_hold)
RELEASE_HOLD = store.by_the_books(domain.release_hold)
REVERSAL = store.by_the_books(domain.reversal)
CLOSE_ACCOUNT = store.by_the_books(domain.close_account)


class AccountsApi(AccountsServiceServicer):
    """The ledger's door."""

    def __init__(self, chassis: Chassis) -> None:
        self.transact = chassis.transact
        self.read = chassis.read

    async def GetAccount(
        self, request: pb.GetAccountRequest, context: Context
    ) -> pb.GetAccountResponse:
        accounts = await self.read(store.accounts_of, caller().must_be_user().user_id)
        account = domain.find(accounts, request.account_id)
        return pb.GetAccountResponse(account=to_wire(account))

    async def ListAccounts(
        self, request: pb.ListAccountsRequest, context: Context
    ) -> pb.ListAccountsResponse:
        accounts = await self.read(store.accounts_of, caller().must_be_user().user_id)
        return pb.ListAccountsResponse(accounts=map(to_wire, accounts))

    async def DescribeAccount(
        self, request: pb.DescribeAccountRequest, context: Context
    ) -> pb.DescribeAccountResponse:
        account, may_pay = await self.read(store.describe, request.account_id, request.user_id)
        return pb.DescribeAccountResponse(
            company_id=account.company_id,
            status=status(account),
            currency_code=account.currency,
            user_may_pay=may_pay,
        )

    async def PostEntry(
        self, request: pb.PostEntryRequest, context: Context
    ) -> pb.PostEntryResponse:
        posted_at_us = await self.post(to_entry(request))
        return pb.PostEntryResponse(posted_at=wire.timestamp(posted_at_us))

    async def PlaceHold(
        self, request: pb.PlaceHoldRequest, context: Context
    ) -> pb.PlaceHoldResponse:
        amount = domain.must_be_movable(wire.from_wire(request.amount))
        hold = Hold(
            id=request.hold_id,
            account=request.account_id,
            amount=amount,
            expires_at_us=request.expires_at.ToMicroseconds(),
        )
        await self.transact(PLACE_HOLD, hold, now_us())
        return pb.PlaceHoldResponse()

    async def PostHold(self, request: pb.PostHoldRequest, context: Context) -> pb.PostHoldResponse:
        order = HoldPosting(
            hold_id=request.hold_id,
            payee=request.payee_account_id,
            postings=to_postings(request.postings),
            description=request.description,
            counterparty=request.counterparty,
            posted_at_us=now_us(),
        )
        posted_at_us = await self.transact(POST_HOLD, order)
        return pb.PostHoldResponse(posted_at=wire.timestamp(posted_at_us))

    async def ReleaseHold(
        self, request: pb.ReleaseHoldRequest, context: Context
    ) -> pb.ReleaseHoldResponse:
        await self.transact(RELEASE_HOLD, request.hold_id)
        return pb.ReleaseHoldResponse()

    async def ReverseEntry(
        self, request: pb.ReverseEntryRequest, context: Context
    ) -> pb.ReverseEntryResponse:
        order = Reversal(
            id=request.entry_id,
            reverses=request.reverses_entry_id,
            transfer=request.transfer_id,
            description=request.description,
            counterparty=request.counterparty,
            posted_at_us=now_us(),
        )
        posted_at_us = await self.post(await self.read(REVERSAL, order))
        return pb.ReverseEntryResponse(posted_at=wire.timestamp(posted_at_us))

    async def CloseAccount(
        self, request: pb.CloseAccountRequest, context: Context
    ) -> pb.CloseAccountResponse:
        account = await self.transact(CLOSE_ACCOUNT, request.account_id)
        return pb.CloseAccountResponse(account=to_wire(account))

    async def VerifyLedger(
        self, request: pb.VerifyLedgerRequest, context: Context
    ) -> pb.VerifyLedgerResponse:
        report = await self.read(store.verify)
        return pb.VerifyLedgerResponse(
            entries=report.entries,
            accounts=report.accounts,
            total_minor_units=report.total_minor_units,
            faults=report.faults,
        )

    async def post(self, entry: Entry) -> int:
        """Posts an entry and tells when; a refusal is kept before it is told."""
        try:
            return await self.transact(POST, entry)
        except UniqueViolated:
            raise FailedPrecondition("ENTRY_REVERSED", "The entry was reversed.") from None
        except (NotFound, FailedPrecondition) as refused:
            return entry.answer(await self.transact(REFUSE, entry, refused.reason))


def to_entry(request: pb.PostEntryRequest) -> Entry:
    return Entry(
        id=request.entry_id,
        postings=to_postings(request.postings),
        transfer=request.transfer_id,
        description=request.description,
        counterparty=request.counterparty,
        posted_at_us=now_us(),
    )


def to_postings(postings: Iterable[pb.Posting]) -> list[Posting]:
    return [Posting(each.account_id, wire.from_wire(each.amount)) for each in postings]


def to_wire(account: Account) -> pb.Account:
    return pb.Account(
        account_id=account.id,
        company_id=account.company_id,
        balance=wire.to_wire(Money(account.balance, account.currency)),
        available=wire.to_wire(Money(account.balance - account.held, account.currency)),
        status=status(account),
        version=account.version,
    )


def status(account: Account) -> pb.AccountStatus.ValueType:
    return pb.ACCOUNT_STATUS_OPEN if account.is_open else pb.ACCOUNT_STATUS_CLOSED
