"""The ledger's rules against the databases that keep it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from dataclasses import replace

import pytest

from mesh.db import CheckViolated
from mesh.errors import AlreadyExists, FailedPrecondition, InvalidArgument, NotFound, Refused
from mesh.ids import new_id
from services.accounts import store
from services.accounts.domain import Account

from .ledger import Ledger, a_hold, an_entry, brl


async def refused(answer: Awaitable[object]) -> str:
    with pytest.raises(Refused) as caught:
        await answer
    return caught.value.reason


async def test_an_entry_moves_money_once(ledger: Ledger) -> None:
    payer, payee = await ledger.open(100), await ledger.open()
    entry = an_entry(payer, payee, 60)

    first = await ledger.post_entry(entry)
    again = await ledger.post_entry(replace(entry, posted_at_us=99))

    assert first == again == entry.posted_at_us
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


async def test_a_hold_lowers_what_may_be_spent_but_not_the_balance(ledger: Ledger) -> None:
    payer, payee = await ledger.open(100), await ledger.open()
    await ledger.hold(a_hold(payer, 70))

    assert await ledger.balance(payer) == 100
    assert await refused(ledger.post(payer, payee, 31)) == "INSUFFICIENT_FUNDS"
    await ledger.post(payer, payee, 30)
    assert await refused(ledger.hold(a_hold(payer, 1))) == "INSUFFICIENT_FUNDS"
    assert await ledger.faults() == []


async def test_placing_posting_and_releasing_are_done_once(ledger: Ledger) -> None:
    payer = await ledger.open(100)
    posted, released = a_hold(payer, 30), a_hold(payer, 20)
    for hold in (posted, released):
        await ledger.hold(hold)
        await ledger.hold(hold)

    assert await ledger.post_hold(posted.id) == await ledger.post_hold(posted.id)
    await ledger.release(released.id)
    await ledger.release(released.id)

    account = await ledger.account(payer)
    assert (account.balance, account.held) == (70, 0)
    assert await ledger.told("HoldPlaced") == 2
    assert await ledger.told("HoldReleased") == 1
    assert await ledger.faults() == []


async def test_a_hold_has_one_end(ledger: Ledger) -> None:
    payer, payee = await ledger.open(100), await ledger.open()
    posted, released = a_hold(payer, 30), a_hold(payer, 20)
    await ledger.hold(posted)
    await ledger.hold(released)
    await ledger.post_hold(posted.id)
    await ledger.release(released.id)

    assert await refused(ledger.release(posted.id)) == "HOLD_POSTED"
    assert await refused(ledger.post_hold(released.id)) == "HOLD_RELEASED"
    assert await refused(ledger.hold(released)) == "HOLD_RELEASED"
    assert await refused(ledger.post_hold(posted.id, payee)) == "ENTRY_ID_TAKEN"
    assert await refused(ledger.post_hold(new_id())) == "HOLD_NOT_FOUND"
    other = replace(posted, amount=brl(31))
    assert await refused(ledger.hold(other)) == "HOLD_ID_TAKEN"


async def test_a_hold_that_comes_after_its_release_is_refused(ledger: Ledger) -> None:
    late = a_hold(await ledger.open(100), 30)

    await ledger.release(late.id)
    await ledger.release(late.id)

    assert await refused(ledger.hold(late)) == "HOLD_RELEASED"
    assert (await ledger.account(late.account)).held == 0
    assert await ledger.faults() == []


async def test_held_funds_stay_held_while_their_payee_is_closed(ledger: Ledger) -> None:
    payer, closed = await ledger.open(100), await ledger.open()
    await ledger.close(closed)
    hold = a_hold(payer, 30)
    await ledger.hold(hold)

    assert await refused(ledger.post_hold(hold.id, closed)) == "ACCOUNT_CLOSED"
    assert await refused(ledger.post_hold(hold.id, payer)) == "SAME_ACCOUNT"
    assert (await ledger.account(payer)).held == 30
    await ledger.post_hold(hold.id)
    assert await ledger.faults() == []


async def test_parts_of_a_hold_are_posted_and_the_rest_is_given_back(ledger: Ledger) -> None:
    payer, payee = await ledger.open(100), await ledger.open()
    hold = a_hold(payer, 70)
    await ledger.hold(hold)

    for _ in range(2):
        assert await ledger.capture(hold.id, {payee: 40, "fees": 5}) == 2

    account = await ledger.account(payer)
    assert (account.balance, account.held) == (55, 0)
    assert await ledger.balance(payee) == 40
    assert await ledger.faults() == []


async def test_no_more_than_is_held_is_posted(ledger: Ledger) -> None:
    payer, payee = await ledger.open(100), await ledger.open()
    hold = a_hold(payer, 70)
    await ledger.hold(hold)

    assert await refused(ledger.capture(hold.id, {payee: 40, "fees": 31})) == "HOLD_EXCEEDED"
    assert await refused(ledger.capture(hold.id, {payer: 40})) == "SAME_ACCOUNT"
    assert await refused(ledger.capture(hold.id, {payee: 40, "fees": -1})) == "AMOUNT_OUT_OF_RANGE"
    assert (await ledger.account(payer)).held == 70


async def test_a_hold_that_has_expired_is_given_back_and_not_posted(ledger: Ledger) -> None:
    payer = await ledger.open(100)
    hold = replace(a_hold(payer, 70), expires_at_us=50)
    await ledger.hold(hold)

    assert await ledger.expire(49) == 0
    assert await refused(ledger.post_hold(hold.id, at_us=50)) == "HOLD_EXPIRED"
    assert [await ledger.expire(50), await ledger.expire(50)] == [1, 0]
    assert await refused(ledger.post_hold(hold.id, at_us=60)) == "HOLD_EXPIRED"
    assert (await ledger.account(payer)).held == 0
    assert await ledger.told("HoldReleased") == 1
    assert await ledger.faults() == []


async def test_a_hold_that_was_posted_does_not_expire(ledger: Ledger) -> None:
    hold = replace(a_hold(await ledger.open(100), 70), expires_at_us=50)
    await ledger.hold(hold)
    posted = await ledger.post_hold(hold.id)

    assert await ledger.expire(60) == 0
    assert await ledger.post_hold(hold.id, at_us=60) == posted


async def test_an_entry_is_taken_back_once(ledger: Ledger) -> None:
    payer, payee = await ledger.open(100), await ledger.open()
    entry = an_entry(payer, payee, 60)
    await ledger.post_entry(entry)
    reversal = new_id()

    assert await ledger.reverse(entry.id, reversal) == await ledger.reverse(entry.id, reversal)
    assert (await ledger.balance(payer), await ledger.balance(payee)) == (100, 0)
    assert await refused(ledger.reverse(entry.id)) == "ENTRY_REVERSED"
    assert await refused(ledger.reverse(reversal)) == "ENTRY_IS_REVERSAL"
    assert await refused(ledger.reverse(new_id())) == "ENTRY_NOT_FOUND"
    assert await ledger.faults() == []


async def test_a_reversal_that_was_refused_may_be_tried_again_under_another_id(
    ledger: Ledger,
) -> None:
    payer, payee = await ledger.open(100), await ledger.open()
    entry = an_entry(payer, payee, 60)
    await ledger.post_entry(entry)
    await ledger.post(payee, payer, 60)
    assert await refused(ledger.reverse(entry.id)) == "INSUFFICIENT_FUNDS"

    await ledger.post(payer, payee, 60)

    assert await ledger.reverse(entry.id) == 3
    assert await ledger.balance(payer) == 100


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
        account = Account.new(new_id(), company)
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

    assert set(answers) == {entry.posted_at_us}
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


@pytest.mark.parametrize(
    ("damage", "fault"),
    [
        ("UPDATE accounts SET balance = balance + 1 WHERE id = :id", "not the sum of its postings"),
        ("UPDATE accounts SET version = version + 1 WHERE id = :id", "have a gap"),
        ("UPDATE accounts SET held = 1 WHERE id = :id", "sum of its open holds"),
        (
            "INSERT INTO postings (account_id, version, entry_id, minor_units, currency,"
            " balance_after) VALUES (:id, 2, 'none', 5, 'BRL', 7)",
            "belong to no entry",
        ),
        (
            "INSERT INTO entries (id, transfer_id, description, counterparty, fingerprint,"
            " refused, posted_at_us) VALUES (:id, '', '', '', '', '', 1)",
            "too few postings",
        ),
    ],
)
async def test_a_damaged_ledger_is_found_out(ledger: Ledger, damage: str, fault: str) -> None:
    account = await ledger.open(100)
    await ledger.run(damage, id=account)

    report = await ledger.database.read(store.verify)

    assert any(fault in sentence for sentence in report.faults), report.faults


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
