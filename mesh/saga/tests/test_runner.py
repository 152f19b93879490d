from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from contextvars import ContextVar
from dataclasses import replace
from types import SimpleNamespace

import pytest

from mesh.clock import now_us
from mesh.db import Database, UnitOfWork, sql
from mesh.errors import FailedPrecondition, Overloaded, Transient
from mesh.saga.runner import SagaRunner
from mesh.testing.waiting import eventually
from observability import tracing
from observability.sampling import Sampler, Strategy
from observability.spans import RecordedSpan

from .journey import Journey, Step, begin, find, journeys, load

STEAL = sql("UPDATE sagas SET owner = 'thief', lease_until_us = :until_us")
STEPS = sql("SELECT step, outcome, reason FROM saga_steps ORDER BY step")


@asynccontextmanager
async def running(
    database: Database, do: Step, *, max_unfinished: int = 2_000
) -> AsyncIterator[SagaRunner]:
    runner = SagaRunner(database, [journeys(do)], max_unfinished=max_unfinished)
    await runner.start()
    try:
        yield runner
    finally:
        await runner.stop()


class Calls:
    """Counts the steps that are taken."""

    def __init__(self) -> None:
        self.counts: Counter[tuple[str, str]] = Counter()

    async def __call__(self, step: str, journey_id: str) -> None:
        self.counts[step, journey_id] += 1


async def state(database: Database, journey_id: str) -> tuple[str, str, int]:
    row = await database.read(find, journey_id)
    assert row is not None
    return row["state"], row["reason"], row["ends"]


async def test_a_saga_runs_to_its_end(database: Database) -> None:
    calls = Calls()
    async with running(database, calls) as runner:
        await database.transact(begin, "a")
        assert await runner.wait("travel", "a", 30.0)
        assert await runner.wait("travel", "a", 0.5)
    assert await state(database, "a") == ("paid", "", 1)
    assert calls.counts == {("book", "a"): 1, ("pay", "a"): 1}
    rows = await database.read(lambda work: work.fetch_all(STEPS))
    assert [(row["step"], row["outcome"]) for row in rows] == [("book", "done"), ("pay", "done")]


async def test_a_saga_is_handed_what_its_unit_knows_and_reads_the_rest(database: Database) -> None:
    read: list[str] = []

    async def load_and_note(work: UnitOfWork, journey_id: str) -> Journey:
        read.append(journey_id)
        return await load(work, journey_id)

    async def are_paid() -> bool:
        ends = [await state(database, journey_id) for journey_id in ("known", "unknown")]
        return ends == [("paid", "", 1)] * 2

    runner = SagaRunner(database, [replace(journeys(Calls()), load=load_and_note)])
    await runner.start()
    try:
        await database.transact(begin, "known", known=Journey("known", "begun", ""))
        await database.transact(begin, "unknown")
        await eventually(are_paid)
    finally:
        await runner.stop()
    assert read == ["unknown"]


async def test_a_saga_that_was_started_before_is_not_begun_anew(database: Database) -> None:
    async def start_again(work: UnitOfWork) -> None:
        work.start("travel", "a", entity=Journey("a", "begun", ""))

    calls = Calls()
    async with running(database, calls) as runner:
        await database.transact(begin, "a")
        assert await runner.wait("travel", "a", 30.0)
        await database.transact(start_again)
        assert await runner.wait("travel", "a", 30.0)
    assert calls.counts == {("book", "a"): 1, ("pay", "a"): 1}


async def test_a_refusal_takes_the_other_way(database: Database) -> None:
    async def refuse(step: str, journey_id: str) -> None:
        if step == "pay":
            raise FailedPrecondition("POOR", "There is no money.")

    async with running(database, refuse) as runner:
        await database.transact(begin, "a")
        assert await runner.wait("travel", "a", 30.0)
    assert await state(database, "a") == ("cancelled", "POOR", 1)


async def test_a_step_without_an_answer_is_asked_again(database: Database) -> None:
    calls = Calls()

    async def stumble(step: str, journey_id: str) -> None:
        await calls(step, journey_id)
        if step == "pay" and calls.counts[step, journey_id] < 4:
            raise Transient("BUSY", "Not now.")

    async with running(database, stumble) as runner:
        await database.transact(begin, "a")
        assert await runner.wait("travel", "a", 30.0)
    assert await state(database, "a") == ("paid", "", 1)
    assert calls.counts == {("book", "a"): 1, ("pay", "a"): 4}


async def test_a_bug_does_not_end_a_saga(database: Database) -> None:
    calls = Calls()

    async def break_once(step: str, journey_id: str) -> None:
        await calls(step, journey_id)
        if step == "pay" and calls.counts[step, journey_id] == 1:
            raise ZeroDivisionError

    async with running(database, break_once) as runner:
        await database.transact(begin, "a")
        assert await runner.wait("travel", "a", 30.0)
    assert await state(database, "a") == ("paid", "", 1)
    assert calls.counts["book", "a"] == 1


async def test_a_saga_for_later_begins_when_it_is_due(database: Database) -> None:
    began: list[int] = []

    async def note(step: str, journey_id: str) -> None:
        began.append(now_us())

    due_at_us = now_us() + 700_000
    async with running(database, note) as runner:
        await database.transact(begin, "later", due_at_us)
        await database.transact(begin, "now")
        assert await runner.wait("travel", "now", 30.0)
        assert not await runner.wait("travel", "later", 0.01)
        assert await runner.wait("travel", "later", 30.0)
    assert sum(moment < due_at_us for moment in began) == 2
    assert sum(moment >= due_at_us for moment in began) == 2


async def test_what_one_process_leaves_another_carries_on_and_no_finished_step_is_repeated(
    database: Database, beside: Database
) -> None:
    first, second = Calls(), Calls()
    stuck = asyncio.Event()

    async def stick(step: str, journey_id: str) -> None:
        if step == "pay":
            stuck.set()
            raise Transient("BUSY", "Not now.")
        await first(step, journey_id)

    async with running(beside, second) as runner:
        async with running(database, stick):
            await database.transact(begin, "a")
            await stuck.wait()
            assert second.counts == {}
        assert await runner.wait("travel", "a", 30.0)
    assert await state(database, "a") == ("paid", "", 1)
    assert first.counts == {("book", "a"): 1}
    assert second.counts == {("pay", "a"): 1}


async def test_two_processes_do_not_take_each_others_steps(
    database: Database, beside: Database
) -> None:
    first, second = Calls(), Calls()
    async with running(database, first) as one, running(beside, second) as other:
        for n in range(25):
            await database.transact(begin, f"a{n}")
            await beside.transact(begin, f"b{n}")
        for n in range(25):
            assert await one.wait("travel", f"b{n}", 30.0)
            assert await other.wait("travel", f"a{n}", 30.0)
    counts = first.counts + second.counts
    assert len(counts) == 100
    assert set(counts.values()) == {1}


async def test_who_has_lost_the_lease_writes_nothing_more(database: Database) -> None:
    reached, go_on = asyncio.Event(), asyncio.Event()

    async def stop_at_pay(step: str, journey_id: str) -> None:
        if step == "pay":
            reached.set()
            await go_on.wait()

    async with running(database, stop_at_pay) as runner:
        await database.transact(begin, "a")
        await reached.wait()
        until = now_us() + 3_600_000_000
        await database.transact(lambda work: work.execute(STEAL, until_us=until))
        go_on.set()
        await eventually(lambda: not runner._running)
    assert await state(database, "a") == ("begun", "", 0)


async def test_too_many_unfinished_sagas_are_refused(database: Database) -> None:
    go_on = asyncio.Event()

    async def stick(step: str, journey_id: str) -> None:
        await go_on.wait()

    async with running(database, stick, max_unfinished=2) as runner:
        runner.admit()
        for name in ("a", "b", "c"):
            await database.transact(begin, name)
        with pytest.raises(Overloaded):
            runner.admit()
        assert not await runner.wait("travel", "a", 0.01)
        go_on.set()
        for name in ("a", "b", "c"):
            assert await runner.wait("travel", name, 30.0)
        await eventually(lambda: _admits(runner))


async def test_a_saga_does_not_inherit_the_call_that_started_it(database: Database) -> None:
    deadline: ContextVar[str] = ContextVar("deadline", default="none")
    seen: set[str] = set()

    async def look(step: str, journey_id: str) -> None:
        seen.add(deadline.get())

    async with running(database, look) as runner:
        deadline.set("a second")
        await database.transact(begin, "a")
        assert await runner.wait("travel", "a", 30.0)
    assert seen == {"none"}


async def test_a_saga_is_part_of_the_trace_that_started_it(
    database: Database, beside: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended: list[RecordedSpan] = []
    pipeline = SimpleNamespace(exporter=object(), offer=ended.append, sampler=Sampler(Strategy()))
    monkeypatch.setattr(tracing, "_pipeline", pipeline)
    stuck = asyncio.Event()

    async def stick(step: str, journey_id: str) -> None:
        if step == "pay":
            stuck.set()
            raise Transient("BUSY", "Not now.")

    with tracing.span("request") as request:
        async with running(database, stick):
            await database.transact(begin, "a")
            await stuck.wait()
    async with running(beside, Calls()) as runner:
        assert await runner.wait("travel", "a", 30.0)
    context = request.get_span_context()
    runs = [span for span in ended if span.name == "saga travel"]
    assert len(runs) == 2
    assert {(run.trace_id, run.parent_id) for run in runs} == {(context.trace_id, context.span_id)}
    steps = [
        span.name
        for span in ended
        if span.parent_id == runs[-1].span_id and span.kind is tracing.SpanKind.INTERNAL
    ]
    assert steps == ["step travel pay"]


def _admits(runner: SagaRunner) -> bool:
    try:
        runner.admit()
    except Overloaded:
        return False
    return True
