"""Any sequence of orders, repeated or not, against a model; and bugs planted that it must find."""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from mesh.db import open_database
from mesh.db.migrate import migrate
from mesh.errors import Refused
from mesh.events.envelope import seal
from mesh.ids import new_id
from mesh.testing.postgres import postgres_server
from services.accounts.domain.books import Books, Entry, Hold, Posting
from services.accounts.domain.chart import UNSEALED, Account
from services.accounts.domain.orders import Block, Limit

from .ledger import VERSIONS, Ledger, a_hold, brl
from .model import Leg, Model, ModelAccount

CUSTOMERS = st.integers(0, 2)
ACCOUNTS = st.integers(0, 4)
AMOUNTS = st.integers(1, 90)
IDS = st.integers(0, 7)
PAYEES = st.lists(st.tuples(ACCOUNTS, AMOUNTS), min_size=1, max_size=3)


@cache
def sqlite_template() -> Path:
    path = Path(tempfile.mkdtemp(prefix="ledger-")) / "template.db"
    migrate(f"sqlite:///{path}", VERSIONS)
    return path


@cache
def postgres_template() -> str:
    url = postgres_server().new_database()
    migrate(url, VERSIONS)
    return url


class LedgerAtRandom(RuleBasedStateMachine):
    """Three customers, the fees and the outside, and few ids, so that orders meet."""

    on_postgres = False
    steps = 0

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.folder = tempfile.TemporaryDirectory()
        if self.on_postgres:
            url = postgres_server().new_database(template=postgres_template())
        else:
            shutil.copyfile(sqlite_template(), f"{self.folder.name}/accounts.db")
            url = f"sqlite:///{self.folder.name}/accounts.db"
        opened = open_database(url, seal=partial(seal, source="accounts"), pool=2)
        self.ledger = Ledger(self.runner.run(opened))
        self.ids = [new_id() for _ in range(8)]
        self.names = [self.runner.run(self.ledger.open()) for _ in range(3)]
        self.names += ["fees", "pix-clearing"]
        known = {name: ModelAccount() for name in self.names}
        known["pix-clearing"].floor = -(10**18)
        self.model = Model(known)
        for name in self.names[:3]:
            self.post_legs(new_id(), [("pix-clearing", -100), (name, 100)])

    def agree(self, order: Coroutine[Any, Any, object], done: bool) -> None:
        """The ledger answers as the model does."""
        type(self).steps += 1
        refused = ""
        try:
            self.runner.run(order)
        except Refused as refusal:
            refused = refusal.reason
        assert done == (not refused), refused

    def post_legs(self, entry_id: str, legs: list[Leg]) -> None:
        sides = [Posting(name, brl(amount)) for name, amount in legs]
        entry = Entry(id=entry_id, postings=sides)
        self.agree(self.ledger.post_entry(entry), self.model.post(entry_id, legs))

    @rule(payer=ACCOUNTS, payees=PAYEES, id=IDS)
    def post(self, payer: int, payees: list[tuple[int, int]], id: int) -> None:
        credits = [(self.names[payee], amount) for payee, amount in payees if payee != payer]
        if credits:
            total = sum(amount for _, amount in credits)
            self.post_legs(self.ids[id], [(self.names[payer], -total), *credits])

    @rule(original=IDS, id=IDS, of_hold=st.booleans())
    def reverse(self, original: int, id: int, of_hold: bool) -> None:
        taken_back = self.hold_id(original) if of_hold else self.ids[original]
        done = self.model.reverse(self.ids[id], taken_back)
        self.agree(self.ledger.reverse(taken_back, self.ids[id]), done)

    @rule(account=CUSTOMERS, amount=AMOUNTS, id=IDS, expires=st.integers(-2, 10))
    def place(self, account: int, amount: int, id: int, expires: int) -> None:
        name, expires_us = self.names[account], max(0, self.model.now_us + expires * 3)
        if expires < 0:
            expires_us = 0
        hold = replace(a_hold(name, amount, self.hold_id(id)), expires_at_us=expires_us)
        done = self.model.place(hold.id, name, amount, expires_us)
        self.agree(self.ledger.hold(hold), done)

    @rule(id=IDS, payees=PAYEES)
    def capture(self, id: int, payees: list[tuple[int, int]]) -> None:
        credits = [(self.names[payee], amount) for payee, amount in payees]
        hold = self.model.holds.get(self.hold_id(id))
        if hold and hold.account and len(credits) == 1 and credits[0][0] != hold.account:
            credits = [(credits[0][0], min(credits[0][1], hold.amount))]
        merged: dict[str, int] = {}
        for name, amount in credits:
            merged[name] = merged.get(name, 0) + amount
        done = self.model.capture(self.hold_id(id), list(merged.items()))
        self.agree(self.ledger.capture(self.hold_id(id), merged), done)

    @rule(id=IDS)
    def release(self, id: int) -> None:
        self.agree(self.ledger.release(self.hold_id(id)), self.model.release(self.hold_id(id)))

    @rule(later=st.integers(-3, 12))
    def time_goes_on(self, later: int) -> None:
        self.model.now_us = self.ledger.now_us = max(1, self.model.now_us + later)

    @rule()
    def expire(self) -> None:
        type(self).steps += 1
        assert self.runner.run(self.ledger.expire()) == self.model.expire()

    @rule(account=CUSTOMERS, debits=st.booleans(), credits=st.booleans())
    def block(self, account: int, debits: bool, credits: bool) -> None:
        name = self.names[account]
        order = Block(account_id=name, debits=debits, credits=credits, reason="why")
        self.agree(self.ledger.take(order), self.model.block(name, debits, credits))

    @rule(account=CUSTOMERS, overdraft=st.integers(0, 50), ceiling=st.integers(100, 200))
    def limit(self, account: int, overdraft: int, ceiling: int) -> None:
        name = self.names[account]
        order = Limit(account_id=name, overdraft=overdraft, ceiling=ceiling)
        self.agree(self.ledger.take(order), self.model.limit(name, overdraft, ceiling))

    @rule(account=CUSTOMERS, emptied=st.booleans())
    def close(self, account: int, emptied: bool) -> None:
        name = self.names[account]
        if emptied and (balance := self.model.accounts[name].balance) > 0:
            self.post_legs(new_id(), [(name, -balance), ("pix-clearing", balance)])
        self.agree(self.ledger.close(name), self.model.close(name))

    @rule(account=ACCOUNTS, back=st.integers(0, 30))
    def look_back(self, account: int, back: int) -> None:
        name, at_us = self.names[account], max(0, self.model.now_us - back)
        found = self.runner.run(self.ledger.balance_at(name, at_us))
        assert found.balance == brl(self.model.accounts[name].at(at_us))

    @invariant()
    def the_books_are_right(self) -> None:
        for name, expected in self.model.accounts.items():
            account = self.runner.run(self.ledger.account(name))
            assert (account.balance, account.held) == (expected.balance, expected.held), name
        assert self.runner.run(self.ledger.faults()) == []

    def teardown(self) -> None:
        self.runner.run(self.ledger.database.close())
        self.runner.close()
        self.folder.cleanup()

    def hold_id(self, number: int) -> str:
        """Holds have ids of their own: their entries would meet those of plain orders."""
        return self.ids[number][::-1]


class LedgerAtRandomOnPostgres(LedgerAtRandom):
    """The same, on PostgreSQL."""

    on_postgres = True


def run(machine: type[LedgerAtRandom], examples: int, steps: int, **more: Any) -> int:
    """Runs a machine; tells how many orders it has given."""
    machine.steps = 0
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
            **more,
        ),
    )
    return machine.steps


def test_any_sequence_of_orders_keeps_the_books_right() -> None:
    assert run(LedgerAtRandom, 12, 30) > 100


def test_any_sequence_of_orders_keeps_the_books_right_on_postgresql() -> None:
    assert run(LedgerAtRandomOnPostgres, 4, 25) > 30


@pytest.mark.faults
@pytest.mark.timeout(900)
@pytest.mark.parametrize("machine", [LedgerAtRandom, LedgerAtRandomOnPostgres])
def test_five_thousand_orders_keep_the_books_right(machine: type[LedgerAtRandom]) -> None:
    seed = os.environ.get("SEED", "")
    steps = run(machine, 125, 60, **({"derandomize": True} if not seed else {}))
    print(f"{machine.__name__}: {steps} orders")
    assert steps >= 5_000


def _why_not(drop: str) -> Callable[..., str]:
    """An account that does not see one reason."""
    honest = Account.why_not

    def blind(self: Account, amount: Any, balance: int, freed: int = 0) -> str:
        reason = honest(self, amount, balance, freed)
        return "" if reason == drop else reason

    return blind


def _forgetful(self: Books, entry: Entry, held: Hold | None = None) -> int:
    """Books that forget what an entry was answered."""
    self.answers.pop(entry.id, None)
    return HONEST_POST(self, entry, held)


def _keeps_no_refusal(self: Books, entry: Entry, held: Hold | None = None) -> int:
    try:
        return HONEST_POST(self, entry, held)
    except Refused:
        self.entries = [kept for kept in self.entries if kept[0].id != entry.id]
        raise


def _keeps_the_rest(self: Books, hold: Hold, status: Any) -> None:
    """Books that free a centavo too few."""
    HONEST_END(self, hold, status)
    self.account(hold.account).held += 1


def _writes_the_first_side_only(self: Books, account: Account, entry: Entry, *rest: Any) -> None:
    if entry.postings[0].account == account.id or entry.transfer:
        HONEST_WRITE(self, account, entry, *rest)


def _goes_back_in_time(self: Books, account: Account, entry: Entry, side: Any, at: int) -> None:
    HONEST_WRITE(self, account, entry, side, self.now_us)


def _does_not_chain(self: Books, account: Account, *rest: Any) -> None:
    HONEST_WRITE(self, account, *rest)
    account.seal = UNSEALED


HONEST_POST, HONEST_END, HONEST_WRITE = Books.post, Books.end, Books.write

# Each is a bug in a rule, and where it is planted.
BUGS: list[tuple[str, type, str, Any]] = [
    ("funds are not looked at", Account, "why_not", _why_not("INSUFFICIENT_FUNDS")),
    ("a ceiling is not looked at", Account, "why_not", _why_not("BALANCE_LIMIT_EXCEEDED")),
    ("a block is not looked at", Account, "why_not", _why_not("ACCOUNT_BLOCKED")),
    ("a closed account is used", Account, "why_not", _why_not("ACCOUNT_CLOSED")),
    (
        "an account that is not empty is closed",
        Account,
        "close",
        lambda self: setattr(self, "is_open", False),
    ),
    ("an account forgets its block", Account, "block", lambda self, *_: True),
    ("limits are not kept", Account, "limit", lambda self, *_: None),
    ("an entry is posted again", Books, "post", _forgetful),
    ("a refusal is not kept", Books, "post", _keeps_no_refusal),
    ("one id names two entries", Entry, "fingerprint", lambda self: "same"),
    ("only the first side is written", Books, "write", _writes_the_first_side_only),
    ("the times of an account go back", Books, "write", _goes_back_in_time),
    ("a seal does not cover what came before", Books, "write", _does_not_chain),
    ("a centavo stays held", Books, "end", _keeps_the_rest),
    ("an expired hold is posted", Hold, "is_over", lambda self, at_us: False),
    (
        "a hold expires too late",
        Hold,
        "is_over",
        lambda self, at_us: 0 < self.expires_at_us < at_us,
    ),
    ("a released hold stands", Hold, "must_stand", lambda self, at_us: None),
    ("one id names two holds", Hold, "must_repeat", lambda self, *_: None),
    ("a release of what is not known is forgotten", Books, "remember", lambda self, hold: None),
    ("a reversal is not turned", Posting, "turned", lambda self: self),
]


@contextmanager
def planted(owner: type, name: str, bug: Any) -> Iterator[None]:
    honest = getattr(owner, name)
    setattr(owner, name, bug)
    try:
        yield
    finally:
        setattr(owner, name, honest)


@pytest.mark.faults
@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: str(bug[0]).replace(" ", "-"))
def test_a_bug_in_any_rule_is_found(bug: tuple[str, type, str, Any]) -> None:
    with planted(*bug[1:]), pytest.raises(Exception):  # noqa: B017, PT011
        run(LedgerAtRandom, 100, 40, derandomize=True, phases=[Phase.generate])
