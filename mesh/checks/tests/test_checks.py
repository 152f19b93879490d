"""Checks are made all the time, in parts, and what they find stands until it is mended."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import cast

import pytest

from mesh.checks import Check, Finding, Part, runner
from mesh.checks.api import ChecksApi
from mesh.checks.runner import CheckRunner
from mesh.errors import Transient
from mesh.rpc.context import Context
from mesh.testing.waiting import eventually
from meshapi.v1 import checks_pb2 as pb
from observability import metrics

WRONG = Finding("row 7", "Row 7 is 5 off.", 5)


class Rows:
    """Ten rows, looked at three at a time; some are wrong."""

    def __init__(self) -> None:
        self.wrong: set[int] = set()
        self.recent: list[Finding] = []
        self.failure: Exception | None = None

    async def sweep(self, after: str) -> Part:
        if self.failure:
            raise self.failure
        first = int(after or 0)
        rows = range(first, min(first + 3, 10))
        found = [
            Finding(f"row {row}", f"Row {row} is 5 off.", 5) for row in rows if row in self.wrong
        ]
        return Part(found, len(rows), str(rows.stop) if rows.stop < 10 else "")

    async def look_at_recent(self) -> Part:
        found, self.recent = self.recent, []
        return Part(found, len(found))

    def check(self) -> Check:
        return Check(
            name="rows",
            sweep=self.sweep,
            recent=self.look_at_recent,
            drift=metrics.BANK_DRIFT,
        )


@asynccontextmanager
async def looking(rows: Rows) -> AsyncIterator[CheckRunner]:
    checks = CheckRunner("shop", [rows.check()])
    checks.start()
    try:
        yield checks
    finally:
        await checks.stop()


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "REST_S", 0.01)
    monkeypatch.setattr(runner, "PAUSE_S", 0.005)
    monkeypatch.setattr(runner, "SHARE", 0.9)


async def told(checks: CheckRunner, *, whole: bool = True) -> pb.Check:
    request = pb.ListChecksRequest(whole=whole)
    answer = await asyncio.wait_for(ChecksApi(checks).ListChecks(request, cast(Context, None)), 5)
    return answer.checks[0]


def drift() -> float | None:
    return metrics.BANK_DRIFT.bind("rows", "shop").value


async def test_what_is_wrong_is_told_with_how_far_it_is_off(
    caplog: pytest.LogCaptureFixture,
) -> None:
    rows = Rows()
    async with looking(rows) as checks:
        found = await told(checks)
        assert (found.broken, found.drift, found.looked_at, drift()) == (0, 0, 10, 0)

        rows.wrong = {7, 9}
        found = await told(checks)
        await told(checks)

    assert (found.broken, found.drift, drift()) == (2, 10, 10)
    assert [finding.sentence for finding in found.findings] == [
        "Row 7 is 5 off.",
        "Row 9 is 5 off.",
    ]
    assert [record.message for record in caplog.records] == ["Row 7 is 5 off.", "Row 9 is 5 off."]


async def test_what_is_mended_is_no_longer_told(caplog: pytest.LogCaptureFixture) -> None:
    rows = Rows()
    rows.wrong = {7}
    async with looking(rows) as checks:
        assert (await told(checks)).broken == 1
        rows.wrong = set()
        found = await told(checks)

    assert (found.broken, drift()) == (0, 0)
    assert caplog.records[-1].message == "mended: Row 7 is 5 off."


async def test_what_is_recent_is_told_before_its_turn() -> None:
    rows = Rows()
    async with looking(rows) as checks:
        await told(checks)
        rows.failure = Transient("GONE", "The rows are away.")
        rows.recent = [WRONG]
        await eventually(lambda: drift() == 5)
        assert (await told(checks, whole=False)).broken == 1


@pytest.mark.parametrize(
    ("failure", "problem"),
    [(Transient("GONE", "The rows are away."), "The rows are away."), (KeyError("x"), "KeyError")],
)
async def test_a_check_that_cannot_be_made_says_so_and_is_made_again(
    failure: Exception, problem: str
) -> None:
    rows = Rows()
    rows.failure = failure
    async with looking(rows) as checks:
        await eventually(lambda: checks.standing[0].problem == problem)
        assert (await told(checks)).problem == problem
        rows.failure = None
        await eventually(lambda: not checks.standing[0].problem)
        assert (await told(checks)).looked_at == 10


async def test_findings_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "MOST", 2)
    rows = Rows()
    rows.wrong = set(range(10))
    async with looking(rows) as checks:
        assert (await told(checks)).broken == 2
