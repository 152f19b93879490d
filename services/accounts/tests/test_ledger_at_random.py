"""Any sequence of orders, repeated or not, against a ledger in a dozen lines of Python."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Coroutine
from functools import partial
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from mesh.db import open_database
from mesh.db.migrate import migrate
from mesh.errors import Refused
from mesh.events.envelope import seal
from mesh.ids import new_id
from services.accounts.domain.books import Hold

from .ledger import VERSIONS, Ledger, an_entry, brl

ACCOUNTS = st.integers(0, 2)
AMOUNTS = st.integers(1, 60)
IDS = st.integers(0, 9)


class LedgerAtRandom(RuleBasedStateMachine):
    """Three accounts and few ids, so that orders meet. The model keeps every answer for ever."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.folder = tempfile.TemporaryDirectory()
        url = f"sqlite:///{self.folder.name}/accounts.db"
        migrate(url, VERSIONS)
        opened = open_database(url, seal=partial(seal, source="accounts"))
        self.ledger = Ledger(self.runner.run(opened))
        self.ids = [new_id() for _ in range(10)]
        self.accounts = [self.runner.run(self.ledger.open(100)) for _ in range(3)]
        self.balances, self.held = [100] * 3, [0] * 3
        self.entries: dict[int, tuple[object, bool]] = {}
        self.holds: dict[int, tuple[tuple[int, int] | None, str]] = {}

    def done(self, order: Coroutine[Any, Any, object]) -> bool:
        try:
            self.runner.run(order)
        except Refused:
            return False
        return True

    def available(self, account: int) -> int:
        return self.balances[account] - self.held[account]

    @rule(payer=ACCOUNTS, payee=ACCOUNTS, amount=AMOUNTS, id=IDS)
    def post(self, payer: int, payee: int, amount: int, id: int) -> None:
        if payer == payee:
            return
        order = (payer, payee, amount)
        fresh = id not in self.entries
        said, stands = self.entries.setdefault(id, (order, self.available(payer) >= amount))
        if fresh and stands:
            self.balances[payer] -= amount
            self.balances[payee] += amount
        entry = an_entry(self.accounts[payer], self.accounts[payee], amount, self.ids[id])
        assert self.done(self.ledger.post_entry(entry)) == (said == order and stands)

    @rule(account=ACCOUNTS, amount=AMOUNTS, id=IDS)
    def place(self, account: int, amount: int, id: int) -> None:
        known = self.holds.get(id)
        if known is None:
            stands = self.available(account) >= amount
            if stands:
                self.holds[id] = ((account, amount), "open")
                self.held[account] += amount
        else:
            stands = known[0] == (account, amount) and known[1] != "released"
        hold = Hold(id=self.hold_id(id), account=self.accounts[account], amount=brl(amount))
        assert self.done(self.ledger.hold(hold)) == stands

    @rule(id=IDS)
    def settle(self, id: int) -> None:
        order, status = self.holds.get(id, (None, "unknown"))
        if order is not None and status == "open":
            account, amount = order
            self.balances[account] -= amount
            self.held[account] -= amount
            self.holds[id] = (order, "posted")
        done = self.done(self.ledger.capture(self.hold_id(id)))
        assert done == (status in ("open", "posted"))

    @rule(id=IDS)
    def release(self, id: int) -> None:
        order, status = self.holds.get(id, (None, "unknown"))
        if order is not None and status == "open":
            self.held[order[0]] -= order[1]
        if status != "posted":
            self.holds[id] = (order, "released")
        assert self.done(self.ledger.release(self.hold_id(id))) == (status != "posted")

    @invariant()
    def the_books_are_right(self) -> None:
        for number, account_id in enumerate(self.accounts):
            account = self.runner.run(self.ledger.account(account_id))
            assert (account.balance, account.held) == (self.balances[number], self.held[number])
        assert self.runner.run(self.ledger.faults()) == []

    def teardown(self) -> None:
        self.runner.run(self.ledger.database.close())
        self.runner.close()
        self.folder.cleanup()

    def hold_id(self, number: int) -> str:
        """Holds have ids of their own: their entries would meet those of plain orders."""
        return self.ids[number][::-1]


def test_any_sequence_of_orders_keeps_the_books_right() -> None:
    run_state_machine_as_test(
        LedgerAtRandom,
        settings=settings(
            max_examples=15,
            stateful_step_count=30,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
