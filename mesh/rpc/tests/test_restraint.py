"""What holds calls back: the budget of repeated ones, the throttle, the server's own judgement."""

from __future__ import annotations

import asyncio

import pytest

from mesh.errors import DeadlineExceeded, NotFound, Overloaded, Transient
from mesh.rpc.budget import RetryBudget
from mesh.rpc.judgement import Judgement
from mesh.rpc.load import Load
from mesh.rpc.throttle import Throttle


def test_a_service_that_never_answers_has_a_tenth_repeated() -> None:
    budget = RetryBudget()
    repeated = 0
    for _ in range(2_000):
        if budget.ask():
            repeated += 3
            budget.spend()

    assert repeated <= 0.1 * 2_000 + 35


def test_a_service_that_answers_may_always_be_repeated() -> None:
    budget = RetryBudget()
    for number in range(1_000):
        assert budget.ask()
        if number % 50 == 0:
            budget.spend()


def test_what_is_owed_is_paid_before_calls_are_repeated_again() -> None:
    budget = RetryBudget()
    for _ in range(40):
        budget.spend()

    asked = 0
    while not budget.ask():
        asked += 1
    assert 850 < asked < 950


def test_a_throttle_that_was_never_refused_holds_nothing_back() -> None:
    assert not Throttle().active


def test_a_throttle_sends_little_more_than_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("mesh.rpc.throttle.time.monotonic", lambda: now[0])
    throttle = Throttle()
    throttle.refused(0.2)
    sent = taken = 0
    for number in range(6_000):
        now[0] += 0.01
        try:
            throttle.ask()
        except Overloaded:
            continue
        counts = number >= 3_000
        sent += counts
        # The service takes one of three that are offered.
        if number % 3 == 0:
            throttle.taken()
            taken += counts
        else:
            throttle.refused(0.2)

    # Without it three times of what is taken would be sent.
    assert taken < sent < 3_000 * 0.75


def test_a_throttle_lets_go_when_all_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("mesh.rpc.throttle.time.monotonic", lambda: now[0])
    throttle = Throttle()
    throttle.refused(0.2)
    for _ in range(2_000):
        now[0] += 0.01
        if not throttle.active:
            break
        try:
            throttle.ask()
        except Overloaded:
            continue
        throttle.taken()

    assert not throttle.active


@pytest.mark.parametrize(
    ("failure", "is_fault"),
    [
        (Transient("A", "a"), True),
        (KeyError("a bug"), True),
        (NotFound("A", "a"), False),
        (Overloaded("A", "a"), False),
        (DeadlineExceeded("A", "a"), False),
    ],
)
def test_only_what_a_server_does_wrong_is_its_fault(failure: Exception, is_fault: bool) -> None:
    load = Load(10)

    load.note(failure)

    assert load.faults == is_fault


async def test_a_server_that_fails_half_of_its_calls_says_so() -> None:
    load, told = Load(10), asyncio.Event()
    watching = asyncio.create_task(Judgement(load, lambda failing: told.set()).watch())

    load.started += 20
    load.faults += 10

    async with asyncio.timeout(5):
        await told.wait()
    watching.cancel()
    await asyncio.gather(watching, return_exceptions=True)


async def test_a_congested_server_lets_calls_pass_one_by_one_in_their_order() -> None:
    load = Load(100)
    load.congested = True
    passed: list[int] = []

    async def call(number: int) -> None:
        load.begin(1)
        try:
            await load.turn(asyncio.get_running_loop().time() + 5)
            passed.append(number)
        finally:
            load.end(1)

    await asyncio.gather(*(call(number) for number in range(20)))

    assert passed == list(range(20))
    assert load.running == 0


async def test_a_call_that_leaves_the_queue_holds_nobody_up() -> None:
    load = Load(100)
    load.congested = True
    until = asyncio.get_running_loop().time() + 5
    calls = [asyncio.create_task(load.turn(until)) for _ in range(5)]
    await asyncio.sleep(0)

    for gone in (calls[0], calls[2]):
        gone.cancel()
    ends = await asyncio.gather(*calls, return_exceptions=True)

    assert [isinstance(end, asyncio.CancelledError) for end in ends] == [
        True, False, True, False, False
    ]  # fmt: skip


async def test_a_congested_server_turns_away_what_would_wait_too_long() -> None:
    load = Load(1_000)
    load.congested = True
    load._spacing_s = 0.010
    until = asyncio.get_running_loop().time() + 5
    waiting = [asyncio.create_task(load.turn(until)) for _ in range(80)]
    await asyncio.sleep(0)

    assert load.is_full(1.0)
    assert not load.is_full(10.0)
    assert load.pause_s == pytest.approx(0.8, rel=0.5)

    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    assert not load.is_full(1.0)
