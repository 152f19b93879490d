"""The canary: with loads that are told, and with real clients whose reports it is judged by."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from mesh.xds.load import Totals
from mesh.xds.measured import Latencies, Wanted
from mesh.xds.policy.book import Book
from mesh.xds.policy.canary import CanaryController
from mesh.xds.policy.document import of_service
from mesh.xds.policy.tests.mesh import Mesh, reaches
from mesh.xds.tests.waiting import until
from meshapi.v1 import policy_pb2 as pb

SECOND = 1_000_000
NONE = Totals()


@dataclass
class Told:
    """The loads and the clock of a test."""

    now_us: int = 1_000 * SECOND
    new: Totals = NONE
    recent: Totals | None = None
    old: Totals = NONE
    answered: dict[str, Latencies] = field(default_factory=dict)
    metrics: dict[tuple[str, str], tuple[float, float]] = field(default_factory=dict)
    wanted: dict[str, Wanted] = field(default_factory=dict)

    def want(self, wanted: dict[str, Wanted]) -> None:
        self.wanted = wanted

    def latencies(self, service: str, version: str, seconds: float) -> Latencies:
        return self.answered.get(version, Latencies())

    def extremes(self, service: str, metric: str) -> tuple[float, float] | None:
        return self.metrics.get((service, metric))

    def of(self, cluster: str, seconds: float) -> Totals:
        if cluster != "echo/v2":
            return self.old
        return self.recent if self.recent is not None and seconds <= 10 else self.new

    def clock(self) -> int:
        return self.now_us


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
async def book(tmp_path: Path) -> AsyncIterator[Book]:
    book = Book(tmp_path / "policy.json", None, follow=lambda _: None, objections=lambda _: [])
    await book.append(pb.MeshPolicy(services=[a_canary()]), author="sre", reason="")
    yield book
    book.stop()


@pytest.fixture
def controller(book: Book, told: Told) -> CanaryController:
    return CanaryController(book, told, told, told.clock)


def a_canary(hold_s: float = 30, minimum_calls: int = 20) -> pb.ServicePolicy:
    policy = pb.ServicePolicy(service="echo")
    policy.canary.CopyFrom(pb.Canary(to="v2", max_error_percent=1, minimum_calls=minimum_calls))
    setattr(policy.canary, "from", "v1")
    for weight in (10, 50):
        policy.canary.steps.add(weight=weight).hold.FromMilliseconds(round(hold_s * 1_000))
    return policy


def stands(book: Book) -> tuple[pb.CanaryState.ValueType, int, list[int]]:
    now = of_service(book.current.policy, "echo")
    return now.canary.state, now.canary.step, [share.weight for share in now.split]


async def test_it_takes_a_step_when_the_last_one_has_held_and_promotes_at_the_end(
    book: Book, controller: CanaryController, told: Told
) -> None:
    await controller.look()
    assert stands(book) == (pb.CANARY_STATE_RUNNING, 0, [90, 10])
    told.new = told.old = Totals(issued=100, succeeded=100)

    await controller.look()
    assert stands(book)[1] == 0
    told.now_us += 30 * SECOND
    await controller.look()
    assert stands(book) == (pb.CANARY_STATE_RUNNING, 1, [50, 50])
    told.now_us += 30 * SECOND
    await controller.look()

    assert stands(book) == (pb.CANARY_STATE_PROMOTED, 1, [0, 100])
    assert [revision.author for revision in await book.history()] == ["sre", *["canary"] * 3]


async def test_it_waits_for_calls_to_judge_by(
    book: Book, controller: CanaryController, told: Told
) -> None:
    await controller.look()
    told.now_us += 60 * SECOND
    told.new = Totals(issued=19, succeeded=0, failed=19)

    await controller.look()

    assert stands(book)[:2] == (pb.CANARY_STATE_RUNNING, 0)
    (status,) = controller.statuses()
    assert status.waiting_for == "1 more calls of v2"
    assert (status.to.ended, status.to.errors) == (19, 19)


async def test_errors_that_the_old_version_has_too_are_no_reason(
    book: Book, controller: CanaryController, told: Told
) -> None:
    await controller.look()
    told.old = Totals(issued=1_000, succeeded=950, failed=50)
    told.new = Totals(issued=100, succeeded=94, failed=6)

    await controller.look()
    assert stands(book)[0] == pb.CANARY_STATE_RUNNING

    told.new = Totals(issued=100, succeeded=93, failed=7)
    await controller.look()
    assert stands(book) == (pb.CANARY_STATE_ROLLED_BACK, 0, [100, 0])
    now = of_service(book.current.policy, "echo")
    assert now.canary.outcome == "v2 failed 7.0 % of 100 calls, v1 5.0 % of 1000"


async def test_a_good_beginning_excuses_nothing(
    book: Book, controller: CanaryController, told: Told
) -> None:
    await controller.look()
    told.now_us += 20 * SECOND
    told.old = Totals(issued=5_000, succeeded=5_000)
    told.new = Totals(issued=10_000, succeeded=9_950, failed=50)
    told.recent = Totals(issued=500, succeeded=450, failed=50)

    await controller.look()

    assert stands(book)[0] == pb.CANARY_STATE_ROLLED_BACK


async def changed(book: Book, **told: object) -> None:
    policy = pb.MeshPolicy()
    policy.CopyFrom(book.current.policy)
    policy.services[0].canary.MergeFrom(pb.Canary(**told))  # type: ignore[arg-type]
    await book.append(policy, author="sre", reason="")


async def test_it_is_taken_back_when_its_p99_is_too_far_above_the_old_ones(
    book: Book, controller: CanaryController, told: Told
) -> None:
    await changed(book, max_latency_factor=1.5)
    await controller.look()
    assert told.wanted == {"echo": Wanted(latency=True)}
    told.now_us += 30 * SECOND
    told.new = told.old = Totals(issued=500, succeeded=500)

    told.answered = {"v1": Latencies(500, 0.020), "v2": Latencies(99, 0.900)}
    await controller.look()
    assert stands(book)[:2] == (pb.CANARY_STATE_RUNNING, 0)
    (status,) = controller.statuses()
    assert status.waiting_for == "1 more calls of v2 to know its p99 by"
    assert status.to.p99_ms == 900

    told.answered = {"v1": Latencies(40, 0.020), "v2": Latencies(100, 0.900)}
    await controller.look()
    assert controller.statuses()[0].waiting_for == "60 more calls of v1 to know its p99 by"
    told.answered = {"v1": Latencies(500, 0.020), "v2": Latencies(100, 0.030)}
    await controller.look()
    assert stands(book)[:2] == (pb.CANARY_STATE_RUNNING, 1)
    told.answered["v2"] = Latencies(100, 0.031)
    await controller.look()

    assert stands(book) == (pb.CANARY_STATE_ROLLED_BACK, 1, [100, 0])
    now = of_service(book.current.policy, "echo")
    assert now.canary.outcome == "p99 of v2 is 31 ms of 100 calls, of v1 20 ms of 500"
    await controller.look()
    assert told.wanted == {}


@pytest.mark.parametrize("found", [(-1.0, 0.0), (0.0, 250.0), (float("nan"), float("nan"))])
async def test_it_is_taken_back_when_what_must_hold_does_not(
    book: Book, controller: CanaryController, told: Told, found: tuple[float, float]
) -> None:
    drift = pb.MetricBound(metric="drift", service="ledger")
    await changed(book, invariants=[drift])
    await controller.look()
    assert told.wanted == {"ledger": Wanted(metrics=frozenset({"drift"}))}
    told.now_us += 30 * SECOND
    told.new = Totals(issued=100, succeeded=100)

    await controller.look()
    assert stands(book)[:2] == (pb.CANARY_STATE_RUNNING, 0)
    assert controller.statuses()[0].waiting_for == "drift of ledger"
    told.metrics["ledger", "drift"] = (0.0, 0.0)
    await controller.look()
    assert stands(book)[:2] == (pb.CANARY_STATE_RUNNING, 1)
    told.metrics["ledger", "drift"] = found
    await controller.look()

    assert stands(book)[0] == pb.CANARY_STATE_ROLLED_BACK
    assert "drift of ledger is " in of_service(book.current.policy, "echo").canary.outcome


async def test_a_version_that_fails_is_taken_back_by_itself(tmp_path: Path) -> None:
    async with Mesh(tmp_path) as mesh:
        await mesh.instance("a", "v1")
        bad = await mesh.instance("b", "v2")
        bad.failing_percent = 5
        client = await mesh.client()
        await client.do("begin", method="Do", pause_s=0.001)

        await mesh.apply(a_canary())

        book = mesh.plane.policies.book
        await until(lambda: stands(book) == (pb.CANARY_STATE_ROLLED_BACK, 0, [100, 0]))
        await reaches(client, "a", method="Do")
        await client.do("end")


async def test_a_version_that_works_takes_over(tmp_path: Path) -> None:
    async with Mesh(tmp_path) as mesh:
        await mesh.instance("a", "v1")
        await mesh.instance("b", "v2")
        client = await mesh.client()
        await client.do("begin", method="Do")

        await mesh.apply(a_canary(hold_s=0.2, minimum_calls=5))

        await reaches(client, "b", method="Do")
        book = mesh.plane.policies.book
        await until(lambda: stands(book) == (pb.CANARY_STATE_PROMOTED, 1, [0, 100]))
        assert set((await client.do("end"))["answers"]) == {"a", "b"}
