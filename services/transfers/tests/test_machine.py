"""Transfers and limits as a state machine, on both databases; and that it finds what is wrong."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from mesh.clock import travel
from mesh.db import ConstraintViolated, open_database, sql
from mesh.db.migrate import migrate
from mesh.errors import Refused
from mesh.events.envelope import seal
from services.transfers import tables
from services.transfers.domain.terms import NO_LIMIT, Limit, Terms
from services.transfers.domain.transfers import Transfer
from services.transfers.store import terms, transfers

from .machine import Machine

MIGRATIONS = Path(tables.__file__).parent / "migrations"


@pytest.fixture(params=["sqlite", "postgresql"])
def machine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[type[Machine]]:
    """The machine over a database of its own. Each example is about companies of its own."""
    url = f"sqlite:///{tmp_path}/transfers.db"
    if request.param == "postgresql":
        url = request.getfixturevalue("postgres_url")
    with over(url) as made:
        yield made


@contextmanager
def over(url: str) -> Iterator[type[Machine]]:
    migrate(url, MIGRATIONS)
    with asyncio.Runner() as runner:
        database = runner.run(open_database(url, seal=partial(seal, source="transfers")))
        try:
            yield type("Machine", (Machine,), {"runner": runner, "database": database})
        finally:
            travel(0)
            runner.run(database.close())


def run(machine: type[Machine], examples: int, steps: int, *, shrink: bool = True) -> None:
    phases = (Phase.generate, Phase.shrink) if shrink else (Phase.generate,)
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            database=None,
            derandomize=True,
            report_multiple_bugs=False,
            phases=phases,
            suppress_health_check=list(HealthCheck),
        ),
    )


def test_whatever_is_done_in_whatever_order_the_rules_hold(machine: type[Machine]) -> None:
    run(machine, examples=6, steps=25)


@pytest.mark.faults
@pytest.mark.timeout(900)
def test_the_rules_hold_for_thousands_of_steps(machine: type[Machine]) -> None:
    run(machine, examples=250, steps=50)

    assert machine.steps >= 5_000


def unlimited(limit: Limit) -> Callable[[pytest.MonkeyPatch], None]:
    def most(self: Terms, asked: Limit) -> int:
        return NO_LIMIT if asked is limit else self.bounds[asked].most

    return lambda patch: patch.setattr(Terms, "most", most)


def without_guard(statement: Any) -> Any:
    return sql(statement.text.partition(" WHERE usage.used")[0])


BUGS: dict[str, Callable[[pytest.MonkeyPatch], None]] = {
    "a day's limit is not looked at": lambda patch: patch.setattr(
        terms, "USE", without_guard(terms.USE)
    ),
    "what fails stays counted": lambda patch: patch.setattr(terms, "give_back", nothing),
    "a limit is raised at once": lambda patch: patch.setattr(terms, "RAISED_AFTER_US", 0),
    "there is no night": lambda patch: patch.setattr(
        "services.transfers.domain.transfers.night_of", lambda moment: None
    ),
    "who asks may approve": lambda patch: patch.setattr(
        Transfer, "must_be_decided_by", lambda self, user, role: None
    ),
    "a transfer may be of any size": unlimited(Limit.PER_TRANSFER),
    "no second factor is asked for": unlimited(Limit.WITHOUT_STEP_UP),
    "nobody has to approve": unlimited(Limit.WITHOUT_APPROVAL),
    "more is given back than was paid": lambda patch: patch.setattr(
        transfers, "REFUND", sql("UPDATE transfers SET refunding = :amount WHERE id = :id")
    ),
    "a refund that fails stays taken": lambda patch: patch.setattr(
        transfers, "REFUND_FAILED", sql("SELECT :amount + 0, :id")
    ),
    "what has begun is cancelled": lambda patch: patch.setattr(
        Transfer, "cancelled", lambda self: self
    ),
    "what is approved does not count": lambda patch: patch.setattr(
        Transfer, "counts_at", lambda self, now: None
    ),
    "what came back is counted again": lambda patch: patch.setattr(
        transfers,
        "RETURNED",
        sql(transfers.RETURNED.text.replace(" AND returned < :returned", "")),
    ),
    "versions stand still": lambda patch: patch.setattr(
        transfers, "CHANGE", sql(transfers.CHANGE.text.replace("version + 1", "version"))
    ),
}


# A wrong answer, a constraint of the database that speaks, or a no where a yes belongs.
FOUND = (AssertionError, ConstraintViolated, Refused)


async def nothing(*args: object) -> None:
    pass


@pytest.mark.faults
@pytest.mark.parametrize("bug", BUGS)
def test_a_bug_in_a_rule_is_found(
    bug: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    BUGS[bug](monkeypatch)

    with over(f"sqlite:///{tmp_path}/transfers.db") as machine, pytest.raises(FOUND):
        run(machine, examples=60, steps=40, shrink=False)
