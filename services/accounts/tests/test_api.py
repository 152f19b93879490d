"""The ledger over real gRPC, as the mesh's services and the bank's users meet it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from bank.accounts.v1 import accounts_pb2 as pb
from bank.accounts.v1 import ledger_pb2 as books
from bank.accounts.v1.accounts_pb2_grpc import AccountsServiceStub
from bank.accounts.v1.events_pb2 import AccountOpened, EntryPosted
from bank.accounts.v1.ledger_pb2_grpc import LedgerServiceStub
from bank.money.v1.money_pb2 import Money
from bank.users.v1.events_pb2 import CompanyOpened, MembershipChanged
from bank.users.v1.users_pb2 import Role
from mesh.db import UnitOfWork, sql
from mesh.errors import (
    AlreadyExists,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    Unauthenticated,
)
from mesh.ids import new_id
from mesh.testing.harness import Running, running
from meshapi.v1.checks_pb2 import ListChecksRequest
from meshapi.v1.checks_pb2_grpc import ChecksServiceStub
from observability.metrics import BANK_DRIFT
from services.accounts.app import build

if TYPE_CHECKING:
    from bank.accounts.v1.accounts_pb2_grpc import AccountsServiceAsyncStub


@pytest.fixture
async def accounts(tmp_path: Path) -> AsyncIterator[Running]:
    async with running(build, tmp_path) as service:
        yield service


def brl(minor_units: int) -> Money:
    return Money(minor_units=minor_units, currency_code="BRL")


def entry(payer: str, payee: str, amount: int) -> pb.PostEntryRequest:
    return pb.PostEntryRequest(
        entry_id=new_id(),
        postings=[
            pb.Posting(account_id=payer, amount=brl(-amount)),
            pb.Posting(account_id=payee, amount=brl(amount)),
        ],
        description="rent",
    )


async def open_account(accounts: Running, owner_id: str) -> str:
    company_id = new_id()
    role = Role.ROLE_OWNER
    member = MembershipChanged(company_id=company_id, user_id=owner_id, role=role)
    await accounts.tell(CompanyOpened(company_id=company_id, owner_id=owner_id))
    await accounts.tell(member)
    return (await accounts.told(AccountOpened))[-1].data.account_id


def caller(accounts: Running, workload: str) -> AccountsServiceAsyncStub:
    return accounts.stub(AccountsServiceStub, workload=workload)


async def test_an_owner_sees_the_account_and_nobody_else_does(accounts: Running) -> None:
    ana, eve = new_id(), new_id()
    account_id = await open_account(accounts, ana)
    bff = caller(accounts, "bff")
    await caller(accounts, "pix").PostEntry(entry("pix-clearing", account_id, 100))

    with accounts.signed_in(ana):
        (listed,) = (await bff.ListAccounts(pb.ListAccountsRequest())).accounts
        got = (await bff.GetAccount(pb.GetAccountRequest(account_id=account_id))).account
    assert got == listed
    assert (got.balance, got.available, got.version) == (brl(100), brl(100), 1)
    assert got.status == pb.ACCOUNT_STATUS_OPEN

    with accounts.signed_in(eve):
        assert not (await bff.ListAccounts(pb.ListAccountsRequest())).accounts
        with pytest.raises(NotFound):
            await bff.GetAccount(pb.GetAccountRequest(account_id=account_id))
    with pytest.raises(Unauthenticated):
        await bff.ListAccounts(pb.ListAccountsRequest())


async def test_an_entry_is_posted_once_and_told_to_both_sides(accounts: Running) -> None:
    payer, payee = await open_account(accounts, "ana"), await open_account(accounts, "bia")
    transfers = caller(accounts, "transfers")
    await transfers.PostEntry(entry("pix-clearing", payer, 100))
    request = entry(payer, payee, 60)

    first = await transfers.PostEntry(request)
    again = await transfers.PostEntry(request)

    assert first == again
    debit, credit = [event.data for event in (await accounts.told(EntryPosted))[-2:]]
    if debit.account_id == payee:
        debit, credit = credit, debit
    assert (debit.amount, debit.balance_after, debit.version) == (brl(-60), brl(40), 2)
    assert (credit.amount, credit.balance_after, credit.version) == (brl(60), brl(60), 1)
    assert (debit.counterparty, credit.counterparty) == (payee, payer)
    assert debit.description == "rent"
    request.description = "other"
    with pytest.raises(AlreadyExists) as caught:
        await transfers.PostEntry(request)
    assert caught.value.reason == "ENTRY_ID_TAKEN"


async def test_refusals_keep_their_reasons_over_the_wire(accounts: Running) -> None:
    payer, payee = await open_account(accounts, "ana"), await open_account(accounts, "bia")
    transfers = caller(accounts, "transfers")

    with pytest.raises(FailedPrecondition) as caught:
        await transfers.PostEntry(entry(payer, payee, 1))
    assert caught.value.reason == "INSUFFICIENT_FUNDS"
    request = entry(payer, payee, 1)
    request.postings[0].amount.minor_units = -2
    with pytest.raises(InvalidArgument) as unbalanced:
        await transfers.PostEntry(request)
    assert unbalanced.value.reason == "ENTRY_UNBALANCED"


async def test_a_hold_is_placed_posted_and_released(accounts: Running) -> None:
    payer, transfers = await open_account(accounts, "ana"), caller(accounts, "transfers")
    await transfers.PostEntry(entry("pix-clearing", payer, 100))
    one, two = new_id(), new_id()
    for hold_id in (one, two):
        hold = pb.PlaceHoldRequest(hold_id=hold_id, account_id=payer, amount=brl(40))
        await transfers.PlaceHold(hold)

    await transfers.PostHold(
        pb.PostHoldRequest(
            hold_id=one, payee_account_id="pix-clearing", counterparty="ana@example.com"
        )
    )
    await transfers.ReleaseHold(pb.ReleaseHoldRequest(hold_id=two))

    with accounts.signed_in("ana"):
        request = pb.GetAccountRequest(account_id=payer)
        account = (await caller(accounts, "bff").GetAccount(request)).account
    assert (account.balance, account.available) == (brl(60), brl(60))
    last = (await accounts.told(EntryPosted))[-1].data
    assert (last.entry_id, last.transfer_id, last.counterparty) == (one, one, "ana@example.com")


async def test_what_there_is_under_the_ids_of_transfers_is_told_to_compare(
    accounts: Running,
) -> None:
    ana, bia = await open_account(accounts, "ana"), await open_account(accounts, "bia")
    stub, watcher = (
        caller(accounts, "transfers"),
        accounts.stub(LedgerServiceStub, workload="transfers"),
    )
    deposit = entry("pix-clearing", ana, 100)
    await stub.PostEntry(deposit)
    hold = pb.PlaceHoldRequest(hold_id=new_id(), account_id=ana, amount=brl(60))
    await stub.PlaceHold(hold)
    unknown = new_id()

    async def looked_up() -> list[books.EntryStanding]:
        ids = [hold.hold_id, unknown, deposit.entry_id]
        return list(
            (await watcher.LookUpEntries(books.LookUpEntriesRequest(entry_ids=ids))).entries
        )

    held, nothing, posted = await looked_up()
    assert (held.held_minor_units, list(held.postings)) == (60, [])
    assert (nothing.entry_id, nothing.held_minor_units) == (unknown, 0)
    assert {each.account_id: each.amount.minor_units for each in posted.postings} == {
        "pix-clearing": -100,
        ana: 100,
    }
    await stub.PostHold(pb.PostHoldRequest(hold_id=hold.hold_id, payee_account_id=bia))
    settled = (await looked_up())[0]
    assert (settled.held_minor_units, len(settled.postings)) == (0, 2)


async def test_only_those_whom_the_contract_names_may_post(accounts: Running) -> None:
    with pytest.raises(PermissionDenied):
        await caller(accounts, "statements").PostEntry(entry("treasury", "fees", 1))
    with pytest.raises(PermissionDenied):
        await caller(accounts, "transfers").VerifyLedger(pb.VerifyLedgerRequest())


async def test_an_account_is_described_to_other_services(accounts: Running) -> None:
    account_id, transfers = await open_account(accounts, "ana"), caller(accounts, "transfers")

    described = await transfers.DescribeAccount(
        pb.DescribeAccountRequest(account_id=account_id, user_id="ana")
    )

    assert (described.currency_code, described.user_may_pay) == ("BRL", True)
    assert described.status == pb.ACCOUNT_STATUS_OPEN
    with pytest.raises(NotFound):
        await transfers.DescribeAccount(pb.DescribeAccountRequest(account_id=new_id()))


async def test_an_operator_closes_an_empty_account_and_verifies_the_ledger(
    accounts: Running,
) -> None:
    account_id, operator = await open_account(accounts, "ana"), caller(accounts, "operator")

    closed = await operator.CloseAccount(pb.CloseAccountRequest(account_id=account_id))
    report = await operator.VerifyLedger(pb.VerifyLedgerRequest())

    assert closed.account.status == pb.ACCOUNT_STATUS_CLOSED
    assert (report.accounts, report.entries, report.total_minor_units) == (4, 0, 0)
    assert not report.faults


async def test_an_operator_blocks_limits_and_reads_the_books(accounts: Running) -> None:
    account_id = await open_account(accounts, "ana")
    transfers = caller(accounts, "transfers")
    operator = accounts.stub(LedgerServiceStub, workload="operator")
    await transfers.PostEntry(entry("pix-clearing", account_id, 100))

    block = books.BlockAccountRequest(account_id=account_id, debits=True, reason="order 7")
    blocked = (await operator.BlockAccount(block)).account
    with pytest.raises(FailedPrecondition, match="blocked"):
        await transfers.PostEntry(entry(account_id, "treasury", 1))
    described = await transfers.DescribeAccount(pb.DescribeAccountRequest(account_id=account_id))
    unblock = books.UnblockAccountRequest(account_id=account_id, reason="order 8")
    await operator.UnblockAccount(unblock)
    limit = books.LimitAccountRequest(account_id=account_id, overdraft_minor_units=50)
    await operator.LimitAccount(limit)
    await transfers.PostEntry(entry(account_id, "treasury", 150))

    assert (blocked.debits_blocked, blocked.credits_blocked) == (True, False)
    assert described.debits_blocked
    listed = books.ListPostingsRequest(account_id=account_id, page_size=1)
    page = await operator.ListPostings(listed)
    assert (page.postings[0].amount, page.has_more) == (brl(100), True)
    last = (await accounts.told(EntryPosted))[-2].data
    key = books.PostingKey(account_id=account_id, version=2)
    missing = books.PostingKey(account_id=account_id, version=3)
    seals = await operator.CompareSeals(books.CompareSealsRequest(keys=[key, missing]))
    assert list(seals.seals) == [last.seal, b""]
    trial = (await operator.GetTrialBalance(books.GetTrialBalanceRequest())).lines
    assert sum(line.debit_minor_units - line.credit_minor_units for line in trial) == 0
    with pytest.raises(PermissionDenied):
        await accounts.stub(LedgerServiceStub, workload="transfers").BlockAccount(block)


async def test_a_row_that_is_changed_is_told_by_the_drift_meter(accounts: Running) -> None:
    account_id = await open_account(accounts, "ana")
    request = entry("pix-clearing", account_id, 100)
    await caller(accounts, "pix").PostEntry(request)
    checks = accounts.stub(ChecksServiceStub, workload="operator")
    whole = ListChecksRequest(whole=True)
    assert [check.broken for check in (await checks.ListChecks(whole)).checks] == [0, 0, 0, 0]

    async def change(work: UnitOfWork) -> None:
        await work.execute(sql("DROP TRIGGER postings_update"))
        await work.execute(sql("UPDATE postings SET minor_units = 99 WHERE minor_units = 100"))

    await accounts.database.transact(change)

    found = {check.name: check for check in (await checks.ListChecks(whole)).checks}
    assert {name: check.drift for name, check in found.items()} == {
        "accounts": 0,
        "entries": 1,
        "lines": 1,
        "total": 0,
    }
    sentence = found["lines"].findings[0].sentence
    assert account_id in sentence
    assert request.entry_id in sentence
    assert BANK_DRIFT.bind("lines", "accounts").value == 1
