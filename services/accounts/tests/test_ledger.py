"""The ledger's rules against the databases that keep it."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from mesh.db import CheckViolated
from mesh.errors import AlreadyExists, FailedPrecondition, InvalidArgument, NotFound
from mesh.ids import new_id
from services.accounts import store
from services.accounts.domain.books import Posting
from services.accounts.domain.chart import Account
from services.accounts.domain.orders import Limit

from .ledger import Ledger, a_hold, an_entry, brl, refused


async def test_an_entry_moves_money_once(ledger: Ledger) -> None:
    payer, payee = await ledger.open(100), await ledger.open()
    entry = an_entry(payer, payee, 60)

    first = await ledger.post_entry(entry)
    ledger.now_us = 99
    again = await ledger.post_entry(entry)

    assert first == again == 1
    assert (await ledger.balance(payer), await ledger.balance(payee)) == (40, 60)
    assert await ledger.faults() == []


async def test_an_entry_tells_each_account_its_posting(ledger: Ledger) -> None:
    payer, payee = await ledger.open(100), await ledger.open()
    before = await ledger.told("EntryPosted")

    await ledger.post(payer, payee, 60)

    assert await ledger.told("EntryPosted") == before + 2
    assert (await ledger.account(payer)).version == 2
    assert (await ledger.account(payee)).version == 1


async def test_an_id_names_one_entry(ledger: Ledger) -> None:
    payer, payee = await ledger.open(100), await ledger.open()
    entry = an_entry(payer, payee, 60)
    await ledger.post_entry(entry)

    for other in (an_entry(payer, payee, 61, entry.id), replace(entry, description="other")):
        with pytest.raises(AlreadyExists, match="another entry"):
            await ledger.post_entry(other)
    assert await ledger.balance(payer) == 40


async def test_a_refused_entry_stays_refused_when_the_money_comes_later(ledger: Ledger) -> None:
    payer, payee = await ledger.open(), await ledger.open()
    late = an_entry(payer, payee, 60)
    assert await refused(ledger.post_entry(late)) == "INSUFFICIENT_FUNDS"

    await ledger.post("pix-clearing", payer, 100)

    assert await refused(ledger.post_entry(late)) == "INSUFFICIENT_FUNDS"
    assert await ledger.balance(payer) == 100
    assert await ledger.faults() == []


async def test_the_reasons_of_a_refusal_are_told_apart(ledger: Ledger) -> None:
    payer, payee, closed = await ledger.open(100), await ledger.open(), await ledger.open()
    await ledger.close(closed)
    entry = an_entry(payer, payee, 1)
    euros = [replace(side, amount=replace(side.amount, currency="EUR")) for side in entry.postings]

    assert await refused(ledger.post(payer, payee, 101)) == "INSUFFICIENT_FUNDS"
    assert await refused(ledger.post(payer, closed, 1)) == "ACCOUNT_CLOSED"
    assert await refused(ledger.post(closed, payee, 1)) == "ACCOUNT_CLOSED"
    assert await refused(ledger.post(payer, new_id(), 1)) == "ACCOUNT_NOT_FOUND"
    assert await refused(ledger.post_entry(replace(entry, postings=euros))) == "CURRENCY_MISMATCH"
    assert await ledger.balance(payer) == 100
    assert await ledger.told("EntryPosted") == 2


async def test_no_balance_leaves_64_bits(ledger: Ledger) -> None:
    payee = await ledger.open()
    await ledger.run("UPDATE accounts SET balance = :most WHERE id = :id", most=10**18, id=payee)

    assert await refused(ledger.post("treasury", payee, 1)) == "BALANCE_LIMIT_EXCEEDED"


async def test_an_account_has_the_limits_that_it_is_given(ledger: Ledger) -> None:
    payer = await ledger.open(100)
    await ledger.take(Limit(account_id=payer, overdraft=50, ceiling=200))

    assert await refused(ledger.post(payer, "treasury", 151)) == "INSUFFICIENT_FUNDS"
    assert await refused(ledger.post("treasury", payer, 101)) == "BALANCE_LIMIT_EXCEEDED"
    await ledger.post(payer, "treasury", 150)
    lower = ledger.take(Limit(account_id=payer, overdraft=49, ceiling=200))
    assert await refused(lower) == "LIMIT_PASSED"
    for change in ("balance = -51", "balance = 201"):
        with pytest.raises(CheckViolated, match=r"accounts_(floor|ceiling)"):
            await ledger.run(f"UPDATE accounts SET {change} WHERE id = :id", id=payer)


async def test_accounts_of_the_bank_stay_open_and_fees_are_never_less_than_nothing(
    ledger: Ledger,
) -> None:
    payee = await ledger.open()

    assert await refused(ledger.close("treasury")) == "ACCOUNT_NOT_CLOSABLE"
    assert await refused(ledger.hold(a_hold("treasury", 1))) == "ACCOUNT_NOT_HOLDABLE"
    assert await refused(ledger.post("fees", payee, 1)) == "INSUFFICIENT_FUNDS"


async def test_a_balance_of_the_past_is_that_of_the_last_line_until_then(ledger: Ledger) -> None:
    payer = await ledger.open(100)
    balances = {0: 0, 1: 100}
    for turn in range(2, 12):
        ledger.now_us = turn * 10
        await ledger.post(payer, "treasury", turn)
        balances[turn * 10] = balances[max(balances)] - turn
    ledger.now_us = 5  # The clock goes back; the times of an account do not.
    await ledger.post(payer, "treasury", 1)
    balances[110] -= 1

    for at_us in range(130):
        then = await ledger.balance_at(payer, at_us)
        expected = balances[max(moment for moment in balances if moment <= at_us)]
        assert then.balance == brl(expected), at_us
    assert (await ledger.balance_at(payer, 10**18)).version == 12
    assert (await ledger.balance_at("fees", 10**18)).balance == brl(0)
    assert await refused(ledger.balance_at(new_id(), 1)) == "ACCOUNT_NOT_FOUND"


async def test_an_entry_has_any_number_of_legs_and_moves_all_or_nothing(ledger: Ledger) -> None:
    payer, empty = await ledger.open(100), await ledger.open()
    payees = [await ledger.open() for _ in range(20)]
    legs = [Posting(payee, brl(4)) for payee in payees]
    entry = an_entry(payer, "fees", 20)
    whole = replace(entry, postings=[Posting(payer, brl(-100)), *entry.postings[1:], *legs])
    more = Posting(empty, brl(-1)), Posting("fees", brl(1))
    short = replace(whole, id=new_id(), postings=[*whole.postings, *more])

    assert await refused(ledger.post_entry(short)) == "INSUFFICIENT_FUNDS"
    assert await ledger.balance(payer) == 100
    await ledger.post_entry(whole)

    assert [await ledger.balance(payee) for payee in payees] == [4] * 20
    assert await ledger.faults() == []


async def test_only_an_empty_account_is_closed(ledger: Ledger) -> None:
    full, empty = await ledger.open(1), await ledger.open()

    assert await refused(ledger.close(full)) == "ACCOUNT_NOT_EMPTY"
    assert not (await ledger.close(empty)).is_open
    assert not (await ledger.close(empty)).is_open
    assert await refused(ledger.close(new_id())) == "ACCOUNT_NOT_FOUND"
    assert await ledger.told("AccountClosed") == 1


async def test_a_company_has_one_account(ledger: Ledger) -> None:
    company = new_id()
    for _ in range(2):
        account = Account(id=new_id(), company_id=company)
        await ledger.database.transact(store.open_account, account, "owner", 1)

    assert await ledger.told("AccountOpened") == 1


async def test_360_debits_at_once_never_overdraw(ledger: Ledger) -> None:
    payer, payee = await ledger.open(200), await ledger.open()

    answers = await asyncio.gather(
        *(ledger.post(payer, payee, 1) for _ in range(360)), return_exceptions=True
    )

    assert sum(isinstance(answer, int) for answer in answers) == 200
    assert sum(isinstance(answer, FailedPrecondition) for answer in answers) == 160
    assert (await ledger.balance(payer), await ledger.balance(payee)) == (0, 200)
    assert await ledger.faults() == []


async def test_payments_in_both_directions_at_once_do_not_lock_each_other(ledger: Ledger) -> None:
    one, two = await ledger.open(1_000), await ledger.open(1_000)

    await asyncio.gather(
        *(ledger.post(*((one, two) if turn % 2 else (two, one)), 1) for turn in range(200))
    )

    assert (await ledger.balance(one), await ledger.balance(two)) == (1_000, 1_000)
    assert await ledger.faults() == []


async def test_fifty_equal_entries_at_once_are_one(ledger: Ledger) -> None:
    payer, payee = await ledger.open(100), await ledger.open()
    entry = an_entry(payer, payee, 60)

    answers = await asyncio.gather(*(ledger.post_entry(entry) for _ in range(50)))

    assert set(answers) == {1}
    assert await ledger.balance(payer) == 40


@pytest.mark.parametrize("table", ["entries", "postings"])
async def test_what_is_written_is_never_changed(ledger: Ledger, table: str) -> None:
    await ledger.open(100)
    column = "description" if table == "entries" else "currency"

    for statement in (f"UPDATE {table} SET {column} = 'X'", f"DELETE FROM {table}"):
        with pytest.raises(CheckViolated, match=f"{table}_append_only"):
            await ledger.run(statement)


async def test_the_database_itself_refuses_a_balance_below_the_floor(ledger: Ledger) -> None:
    account = await ledger.open(100)

    with pytest.raises(CheckViolated, match="accounts_floor"):
        await ledger.run("UPDATE accounts SET held = 101 WHERE id = :id", id=account)


def test_an_entry_balances_or_is_none() -> None:
    entry = an_entry("a", "b", 1)
    for postings in ([], entry.postings[:1], [*entry.postings, entry.postings[0]]):
        with pytest.raises(InvalidArgument, match="sum to zero"):
            replace(entry, postings=postings)


@pytest.mark.parametrize("amount", [0, 10**15 + 1, -(10**15) - 1])
def test_an_entry_moves_something_and_not_too_much(amount: int) -> None:
    with pytest.raises(InvalidArgument, match="nothing, or too much"):
        an_entry("a", "b", amount)


async def test_nobody_describes_an_account_that_is_not_there(ledger: Ledger) -> None:
    with pytest.raises(NotFound):
        await ledger.account(new_id())
