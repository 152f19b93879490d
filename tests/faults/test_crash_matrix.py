"""kill -9 at every step of every saga: whatever dies when, each payment ends once, as it should."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from tests.e2e.bank import Bank, a_customer, eventually
from tests.e2e.starting import a_bank, nothing_drifts
from tests.e2e.test_books import ledger
from tests.e2e.test_events import listed

from . import dying
from .matrix import PATIENCE_S, SCENARIOS, SOON_S, Cell, Stage, cells, play
from .remains import Books, Left

pytestmark = [pytest.mark.faults, pytest.mark.timeout(1_500)]

MONEY = 1_000_000
AT_ONCE = 24


@pytest.fixture
def deaths(tmp_path: Path) -> Path:
    return tmp_path / "deaths"


@pytest.fixture
def mortal(deaths: Path) -> Iterator[Bank]:
    """A bank whose processes die where a payment asks for it."""
    with a_bank(dying.environment(deaths)) as bank:
        yield bank


@pytest.fixture
async def stage(mortal: Bank) -> AsyncIterator[Stage]:
    async with mortal.client() as http:
        payer, payee = await a_customer(http, MONEY), await a_customer(http, MONEY)
        yield Stage(mortal, http, payer, payee)


async def test_a_process_dies_at_every_step_of_every_saga_and_each_payment_ends_once(
    stage: Stage, deaths: Path
) -> None:
    for service in ("accounts", "transfers", "pix", "notifications"):
        stage.bank.database_of(service)
    controls = [Cell(scenario) for scenario in SCENARIOS]
    await play(stage, controls, AT_ONCE)
    began = time.monotonic()
    struck, spared = await strike(stage, deaths)
    took = time.monotonic() - began

    books = Books(stage)
    await books.read()
    wanted = {cell.scenario.name: books.left(cell) for cell in controls}
    for cell in controls:
        ended_well(cell, wanted[cell.scenario.name])
    found = [(cell, books.left(cell)) for cell in struck]
    print(
        table(found, wanted), f"\n{len(struck)} processes died, one after the other, {took:.0f} s"
    )
    wrong = [
        f"{cell.label}: {left} and not {wanted[cell.scenario.name]}"
        for cell, left in [*found, *((cell, books.left(cell)) for cell in spared)]
        if left != wanted[cell.scenario.name]
    ]
    assert wrong == []
    await money_is_right(stage, books, [*controls, *struck, *spared])


async def strike(stage: Stage, deaths: Path) -> tuple[list[Cell], list[Cell]]:
    """Plays every cell, until each has killed its process; gives those that have, and the others.

    Where the process dies of another cell just then, the moment has passed: it is played again.
    """
    struck, spared, wanted = list[Cell](), list[Cell](), cells()
    while wanted:
        await play(stage, wanted, AT_ONCE)
        await quiet(stage.bank)
        died = dying.deaths(deaths)
        struck += [cell for cell in wanted if dying.name_of(cell.label) in died]
        late = [cell for cell in wanted if dying.name_of(cell.label) not in died]
        spared += late
        wanted = [Cell(cell.scenario, cell.saga, cell.moment, cell.turn + 1) for cell in late]
        assert len(spared) < len(struck), "too many were not struck"
    return struck, spared


async def quiet(bank: Bank) -> None:
    """Waits until no saga runs, or is about to, and every event is heard."""
    soon_us = round((time.time() + 2 * SOON_S) * 1e6)
    due = f"SELECT entity_id FROM sagas WHERE status = 'running' AND due_at_us < {soon_us}"

    async def is_quiet() -> bool:
        for service in ("transfers", "pix", "notifications"):
            if await bank.query(service, due):
                return False
        told = await listed(bank)
        behind = [each.get("lag", 1) for each in told["subscriptions"]]
        return not any(behind) and not any(each.get("unsent", 1) for each in told["outboxes"])

    await eventually(is_quiet, "quiet", PATIENCE_S)


def ended_well(cell: Cell, left: Left) -> None:
    """What the undisturbed one has left is what the scenario says."""
    scenario = cell.scenario
    assert left.states == scenario.states, cell.label
    assert left.moved == scenario.moved, cell.label
    assert sum(amount * times for (_, amount), times in left.ledger.items()) == 0, cell.label
    assert "open" not in left.holds, cell.label
    assert not left.unfinished, cell.label


async def money_is_right(stage: Stage, books: Books, played: Sequence[Cell]) -> None:
    """Balances are what the scenarios sum up to; statements are the ledger, line by line."""
    for place, customer in enumerate((stage.payer, stage.payee)):
        balance = MONEY + sum(cell.scenario.moved[place] for cell in played)
        assert await customer.balance() == balance
        lines = books.statements[customer.account_id]
        kept = await stage.bank.query(
            "accounts",
            "SELECT entry_id, minor_units FROM postings"
            f" WHERE account_id = '{customer.account_id}' ORDER BY version",
        )
        shown = [(line["entryId"], int(line["amount"]["minorUnits"])) for line in lines]
        assert shown == [(row["entry_id"], row["minor_units"]) for row in kept]
        assert sum(amount for _, amount in shown) == balance
    assert await stage.bank.query("accounts", "SELECT id FROM accounts WHERE held <> 0") == []
    verified = await asyncio.to_thread(ledger, stage.bank, "verify")
    assert (int(verified["totalMinorUnits"]), verified["faults"]) == (0, [])
    await asyncio.to_thread(nothing_drifts, stage.bank.data)


def table(found: Sequence[tuple[Cell, Left]], wanted: dict[str, Left]) -> str:
    """Draws a line for each scenario and saga."""
    head = "| scenario | saga dies | ended as | entries | holds | events | lines | told |"
    lines = ["", head, "|---|---|---|---|---|---|---|---|"]
    rows: dict[tuple[str, str], list[tuple[Cell, Left]]] = {}
    order = {scenario.name: place for place, scenario in enumerate(SCENARIOS)}
    for cell, left in sorted(found, key=lambda each: order[each[0].scenario.name]):
        rows.setdefault((cell.scenario.name, cell.saga), []).append((cell, left))
    for (name, saga), group in rows.items():
        want = wanted[name]
        counts = Counter[str]()
        for _, left in group:
            counts["states"] += left.states == want.states and not left.unfinished
            for part in ("ledger", "holds", "events", "lines", "told"):
                counts[part] += getattr(left, part) == getattr(want, part)
        all_ = len(group)
        cells_ = [f"{counts[part]}/{all_}" for part in ("ledger", "holds", "events", "lines")]
        ended = f"{', '.join(want.states)}: {counts['states']}/{all_}"
        told = f"{counts['told']}/{all_}"
        lines.append(
            f"| {name} | `{saga}`, {all_} moments | {ended} | {' | '.join(cells_)} | {told} |"
        )
    return "\n".join(lines)


def test_a_control_that_differs_is_told_apart() -> None:
    """What the matrix compares is all that is left: one event more is seen."""
    left = Left(
        states=("completed",),
        moved=(-1, 1),
        ledger=Counter(),
        holds=(),
        unfinished=0,
        events=Counter({"TransferCompleted": 1}),
        lines=Counter(),
        told=Counter(),
    )
    assert left != replace(left, events=Counter({"TransferCompleted": 2}))
