"""Holds, reversals and blocks against the databases that keep them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mesh.db import CheckViolated
from mesh.ids import new_id
from services.accounts.domain.orders import Block

from .ledger import Ledger, a_hold, an_entry, brl, refused


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

    assert await ledger.capture(posted.id) == await ledger.capture(posted.id)
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
    await ledger.capture(posted.id)
    await ledger.release(released.id)

    assert await refused(ledger.release(posted.id)) == "HOLD_POSTED"
    assert await refused(ledger.capture(released.id)) == "HOLD_RELEASED"
    assert await refused(ledger.hold(released)) == "HOLD_RELEASED"
    assert await refused(ledger.capture_all(posted.id, payee)) == "ENTRY_ID_TAKEN"
    assert await refused(ledger.capture(new_id())) == "HOLD_NOT_FOUND"
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

    assert await refused(ledger.capture_all(hold.id, closed)) == "ACCOUNT_CLOSED"
    assert await refused(ledger.capture_all(hold.id, payer)) == "SAME_ACCOUNT"
    assert (await ledger.account(payer)).held == 30
    await ledger.capture(hold.id)
    assert await ledger.faults() == []


async def test_parts_of_a_hold_are_posted_and_the_rest_is_given_back(ledger: Ledger) -> None:
    payer, payee = await ledger.open(100), await ledger.open()
    hold = a_hold(payer, 70)
    await ledger.hold(hold)

    for _ in range(2):
        assert await ledger.capture(hold.id, {payee: 40, "fees": 5}) == 1

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

    ledger.now_us = 49
    assert await ledger.expire() == 0
    ledger.now_us = 50
    assert await refused(ledger.capture(hold.id)) == "HOLD_EXPIRED"
    assert [await ledger.expire(), await ledger.expire()] == [1, 0]
    assert await refused(ledger.capture(hold.id)) == "HOLD_EXPIRED"
    assert await refused(ledger.hold(hold)) == "HOLD_EXPIRED"
    assert (await ledger.account(payer)).held == 0
    assert await ledger.told("HoldReleased") == 1
    assert await ledger.faults() == []


async def test_a_hold_that_was_posted_does_not_expire(ledger: Ledger) -> None:
    hold = replace(a_hold(await ledger.open(100), 70), expires_at_us=50)
    await ledger.hold(hold)
    posted = await ledger.capture(hold.id)

    ledger.now_us = 60
    assert await ledger.expire() == 0
    assert await ledger.capture(hold.id) == posted


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

    assert await ledger.reverse(entry.id) == 1
    assert await ledger.balance(payer) == 100


async def test_an_account_is_blocked_for_what_goes_out_or_comes_in(ledger: Ledger) -> None:
    payer, payee = await ledger.open(100), await ledger.open(100)
    hold = a_hold(payer, 10)
    await ledger.hold(hold)

    for _ in range(2):
        await ledger.take(Block(account_id=payer, debits=True, reason="court order 7"))
    await ledger.take(Block(account_id=payee, credits=True, reason="court order 8"))

    assert await refused(ledger.post(payer, "treasury", 1)) == "ACCOUNT_BLOCKED"
    assert await refused(ledger.hold(a_hold(payer, 1))) == "ACCOUNT_BLOCKED"
    assert await refused(ledger.post("treasury", payee, 1)) == "ACCOUNT_BLOCKED"
    await ledger.post("treasury", payer, 5)
    await ledger.post(payee, "treasury", 5)
    await ledger.capture(hold.id)
    for _ in range(2):
        await ledger.take(Block(account_id=payer, reason="court order 9"))
    await ledger.post(payer, "treasury", 5)
    assert (await ledger.told("AccountBlocked"), await ledger.told("AccountUnblocked")) == (2, 1)
    assert await ledger.faults() == []


@pytest.mark.parametrize(
    ("change", "constraint"),
    [
        ("held = 1", "accounts_holds"),
        ("status = 'closed'", "accounts_ends"),
        ("kind = 'customer'", "accounts_owner"),
        ("kind = 'savings'", "accounts_kind"),
    ],
)
async def test_the_database_holds_an_account_to_its_kind(
    ledger: Ledger, change: str, constraint: str
) -> None:
    with pytest.raises(CheckViolated, match=constraint):
        await ledger.run(f"UPDATE accounts SET {change} WHERE id = 'treasury'")
