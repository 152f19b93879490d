"""Speaks `bank.accounts.v1` to services and users, and decides nothing."""

from __future__ import annotations

from collections.abc import Iterable

from bank.accounts.v1 import accounts_pb2 as pb
from bank.accounts.v1 import ledger_pb2 as books
from bank.accounts.v1.accounts_pb2_grpc import AccountsServiceServicer
from bank.accounts.v1.ledger_pb2_grpc import LedgerServiceServicer
from mesh.chassis import Chassis
from mesh.clock import now_us
from mesh.rpc import Context, caller
from services import wire
from services.money import Money

from . import checks, store
from .domain.books import Entry, Hold, Line, Posting, must_be_movable
from .domain.chart import BALANCE_LIMIT, Account
from .domain.orders import Block, Capture, Close, Limit, Place, Post, Release, Reverse
from .domain.reading import BalanceThen, Standing, find, is_unsettled, must_be_past
from .store import Counter

PAGE_SIZE = 100


class AccountsApi(AccountsServiceServicer):
    """The door of users and of services."""

    def __init__(self, chassis: Chassis, counter: Counter) -> None:
        self.chassis = chassis
        self.read = chassis.read
        self.take = counter.take

    async def GetAccount(
        self, request: pb.GetAccountRequest, context: Context
    ) -> pb.GetAccountResponse:
        return pb.GetAccountResponse(account=to_wire(await self.own(request.account_id)))

    async def ListAccounts(
        self, request: pb.ListAccountsRequest, context: Context
    ) -> pb.ListAccountsResponse:
        accounts = await self.read(store.accounts_of, caller().must_be_user().user_id)
        return pb.ListAccountsResponse(accounts=map(to_wire, accounts))

    async def GetBalance(
        self, request: pb.GetBalanceRequest, context: Context
    ) -> pb.GetBalanceResponse:
        await self.own(request.account_id)
        balance = await balance_of(self.chassis, request)
        return pb.GetBalanceResponse(balance=balance)

    async def DescribeAccount(
        self, request: pb.DescribeAccountRequest, context: Context
    ) -> pb.DescribeAccountResponse:
        account, may_pay = await self.read(store.describe, request.account_id, request.user_id)
        return pb.DescribeAccountResponse(
            company_id=account.company_id,
            status=status(account),
            currency_code=account.currency,
            user_may_pay=may_pay,
            debits_blocked=account.debits_blocked,
            credits_blocked=account.credits_blocked,
        )

    async def PostEntry(
        self, request: pb.PostEntryRequest, context: Context
    ) -> pb.PostEntryResponse:
        entry = Entry(
            id=request.entry_id,
            postings=to_postings(request.postings),
            transfer=request.transfer_id,
            description=request.description,
            counterparty=request.counterparty,
        )
        posted_at_us = await self.take(Post(entry))
        return pb.PostEntryResponse(posted_at=wire.timestamp(posted_at_us))

    async def PlaceHold(
        self, request: pb.PlaceHoldRequest, context: Context
    ) -> pb.PlaceHoldResponse:
        hold = Hold(
            id=request.hold_id,
            account=request.account_id,
            amount=must_be_movable(wire.from_wire(request.amount)),
            expires_at_us=request.expires_at.ToMicroseconds(),
        )
        await self.take(Place(hold))
        return pb.PlaceHoldResponse()

    async def PostHold(self, request: pb.PostHoldRequest, context: Context) -> pb.PostHoldResponse:
        order = Capture(
            hold_id=request.hold_id,
            payee=request.payee_account_id,
            postings=to_postings(request.postings),
            description=request.description,
            counterparty=request.counterparty,
        )
        return pb.PostHoldResponse(posted_at=wire.timestamp(await self.take(order)))

    async def ReleaseHold(
        self, request: pb.ReleaseHoldRequest, context: Context
    ) -> pb.ReleaseHoldResponse:
        await self.take(Release(hold_id=request.hold_id))
        return pb.ReleaseHoldResponse()

    async def ReverseEntry(
        self, request: pb.ReverseEntryRequest, context: Context
    ) -> pb.ReverseEntryResponse:
        order = Reverse(
            id=request.entry_id,
            original=request.reverses_entry_id,
            transfer=request.transfer_id,
            description=request.description,
            counterparty=request.counterparty,
        )
        return pb.ReverseEntryResponse(posted_at=wire.timestamp(await self.take(order)))

    async def CloseAccount(
        self, request: pb.CloseAccountRequest, context: Context
    ) -> pb.CloseAccountResponse:
        account = await self.take(Close(request.account_id))
        return pb.CloseAccountResponse(account=to_wire(account))

    async def VerifyLedger(
        self, request: pb.VerifyLedgerRequest, context: Context
    ) -> pb.VerifyLedgerResponse:
        report = await self.read(checks.verify)
        return pb.VerifyLedgerResponse(
            entries=report.entries,
            accounts=report.accounts,
            total_minor_units=report.total_minor_units,
            faults=report.faults,
        )

    async def own(self, account_id: str) -> Account:
        """Finds an account of the one who asks."""
        accounts = await self.read(store.accounts_of, caller().must_be_user().user_id)
        return find(accounts, account_id)


class LedgerApi(LedgerServiceServicer):
    """The door of those who watch over the books."""

    def __init__(self, chassis: Chassis, counter: Counter) -> None:
        self.chassis = chassis
        self.read = chassis.read
        self.take = counter.take

    async def LookUpBalance(
        self, request: books.LookUpBalanceRequest, context: Context
    ) -> books.LookUpBalanceResponse:
        return books.LookUpBalanceResponse(balance=await balance_of(self.chassis, request))

    async def ListPostings(
        self, request: books.ListPostingsRequest, context: Context
    ) -> books.ListPostingsResponse:
        size = request.page_size or PAGE_SIZE
        lines = await self.read(
            store.lines_after, request.account_id, request.after_version, size + 1
        )
        return books.ListPostingsResponse(
            postings=map(line_to_wire, lines[:size]), has_more=len(lines) > size
        )

    async def CompareSeals(
        self, request: books.CompareSealsRequest, context: Context
    ) -> books.CompareSealsResponse:
        keys = [(key.account_id, key.version) for key in request.keys]
        return books.CompareSealsResponse(seals=await self.read(store.seals_of, keys))

    async def LookUpEntries(
        self, request: books.LookUpEntriesRequest, context: Context
    ) -> books.LookUpEntriesResponse:
        found = await self.read(store.standings_of, request.entry_ids)
        return books.LookUpEntriesResponse(entries=map(standing_to_wire, found))

    async def GetTrialBalance(
        self, request: books.GetTrialBalanceRequest, context: Context
    ) -> books.GetTrialBalanceResponse:
        return books.GetTrialBalanceResponse(
            lines=[
                books.TrialBalanceLine(
                    kind=line.kind,
                    currency_code=line.currency,
                    accounts=line.accounts,
                    debit_minor_units=line.debit,
                    credit_minor_units=line.credit,
                )
                for line in await self.read(checks.trial_balance)
            ]
        )

    async def BlockAccount(
        self, request: books.BlockAccountRequest, context: Context
    ) -> books.BlockAccountResponse:
        order = Block(
            account_id=request.account_id,
            debits=request.debits,
            credits=request.credits,
            reason=request.reason,
        )
        return books.BlockAccountResponse(account=to_wire(await self.take(order)))

    async def UnblockAccount(
        self, request: books.UnblockAccountRequest, context: Context
    ) -> books.UnblockAccountResponse:
        order = Block(account_id=request.account_id, reason=request.reason)
        return books.UnblockAccountResponse(account=to_wire(await self.take(order)))

    async def LimitAccount(
        self, request: books.LimitAccountRequest, context: Context
    ) -> books.LimitAccountResponse:
        order = Limit(
            account_id=request.account_id,
            overdraft=request.overdraft_minor_units,
            ceiling=request.ceiling_minor_units or BALANCE_LIMIT,
        )
        return books.LimitAccountResponse(account=to_wire(await self.take(order)))


async def balance_of(
    chassis: Chassis, request: pb.GetBalanceRequest | books.LookUpBalanceRequest
) -> pb.Balance:
    """Reads a balance, now or then. An instant of moments ago takes its turn among those who write,
    so that nothing older can come after the answer.
    """
    now = now_us()
    if not request.HasField("at"):
        account, _ = await chassis.read(store.describe, request.account_id, "")
        return balance_now(account, now)
    at_us = must_be_past(request.at.ToMicroseconds(), now)
    runs = chassis.transact if is_unsettled(at_us, now) else chassis.read
    return balance_to_wire(await runs(store.balance_at, request.account_id, at_us))


def to_postings(postings: Iterable[pb.Posting]) -> list[Posting]:
    return [Posting(each.account_id, wire.from_wire(each.amount)) for each in postings]


def to_wire(account: Account) -> pb.Account:
    return pb.Account(
        account_id=account.id,
        company_id=account.company_id,
        balance=wire.to_wire(Money(account.balance, account.currency)),
        available=wire.to_wire(Money(account.available, account.currency)),
        status=status(account),
        version=account.version,
        debits_blocked=account.debits_blocked,
        credits_blocked=account.credits_blocked,
    )


def balance_now(account: Account, now: int) -> pb.Balance:
    return pb.Balance(
        account_id=account.id,
        balance=wire.to_wire(Money(account.balance, account.currency)),
        available=wire.to_wire(Money(account.available, account.currency)),
        version=account.version,
        at=wire.timestamp(now),
    )


def balance_to_wire(then: BalanceThen) -> pb.Balance:
    return pb.Balance(
        account_id=then.account,
        balance=wire.to_wire(then.balance),
        version=then.version,
        at=wire.timestamp(then.at_us),
    )


def line_to_wire(line: Line) -> books.PostedLine:
    return books.PostedLine(
        version=line.version,
        entry_id=line.entry_id,
        transfer_id=line.transfer,
        amount=wire.to_wire(line.amount),
        balance_after=wire.to_wire(Money(line.balance, line.amount.currency)),
        counterparty=line.counterparty,
        description=line.description,
        occurred_at=wire.timestamp(line.posted_at_us),
        reverses_entry_id=line.reverses,
        seal=line.seal,
    )


def standing_to_wire(standing: Standing) -> books.EntryStanding:
    return books.EntryStanding(
        entry_id=standing.id,
        postings=[
            pb.Posting(account_id=side.account, amount=wire.to_wire(side.amount))
            for side in standing.postings
        ],
        held_minor_units=standing.held,
    )


def status(account: Account) -> pb.AccountStatus.ValueType:
    return pb.ACCOUNT_STATUS_OPEN if account.is_open else pb.ACCOUNT_STATUS_CLOSED
