"""Looks at what must always be true, a part at a time, and rests for many times as long."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Final

from mesh.clock import now_us
from mesh.errors import Error
from observability import logs, metrics

from . import Check, Finding, Part

__all__ = ["CheckRunner", "Standing"]

SHARE: Final = 0.05
"""The share of the time that looking may take."""

REST_S: Final = 5.0
"""How long a check rests when it has looked at everything."""

PAUSE_S: Final = 1.0
"""How long nothing is looked at when every check rests, and after a look that has failed."""

MOST: Final = 1_000
"""The most findings of a check that are kept."""

log = logs.get_logger(__name__)


class Standing:
    """How a check stands."""

    def __init__(self, check: Check, service: str) -> None:
        self.check = check
        self.problem = ""
        self.looked_at = 0
        self.swept_at_us = 0
        # When the last whole sweep began: what it says is true of no time before that.
        self.swept_from_us = 0
        self._after = ""
        self._began_us = 0
        self._rests_until = 0.0
        self._seen = 0
        self._kept: dict[str, Finding] = {}
        self._swept: dict[str, Finding] = {}
        self._broken = metrics.CHECKS_BROKEN.bind(check.name)
        self._drift = check.drift.bind(check.name, service) if check.drift else None
        metrics.CHECKS_AGE.observe(self._age_s, check.name)
        self._started = time.monotonic()

    @property
    def findings(self) -> list[Finding]:
        """What was found by the last whole sweep, and since."""
        return list((self._kept | self._swept).values())

    @property
    def drift(self) -> int:
        return sum(abs(finding.drift) for finding in self.findings)

    def rests(self) -> bool:
        return time.monotonic() < self._rests_until

    def wake(self) -> None:
        self._rests_until = 0.0

    async def look(self) -> None:
        """Looks at what is recent, and at the next part of everything unless it rests."""
        try:
            if self.check.recent is not None:
                self._note((await self.check.recent()).findings)
            if not self.rests():
                if not self._after:
                    self._began_us, self._seen, self._swept = now_us(), 0, {}
                self._take(await self.check.sweep(self._after))
            self.problem = ""
        except Error as error:
            self._fail(error.message)
        except Exception as error:
            if not self.problem:
                log.exception("the check %s has failed", self.check.name)
            self._fail(type(error).__name__)
        self._show()

    def _take(self, part: Part) -> None:
        self._note(part.findings)
        self._seen += part.looked_at
        self._after = part.after
        if part.after:
            return
        for subject in self._kept.keys() - self._swept.keys():
            log.warning("mended: %s", self._kept[subject].sentence)
        self._kept, self._swept = self._swept, {}
        self.looked_at, self.swept_at_us = self._seen, now_us()
        self.swept_from_us = self._began_us
        self._rests_until = time.monotonic() + REST_S

    def _note(self, findings: Sequence[Finding]) -> None:
        for finding in findings[:MOST]:
            if finding.subject not in self._kept and finding.subject not in self._swept:
                log.error(
                    finding.sentence, extra={"check": self.check.name, "drift": finding.drift}
                )
            if len(self._swept) < MOST:
                self._swept[finding.subject] = finding

    def _fail(self, problem: str) -> None:
        self.problem = problem
        self._rests_until = time.monotonic() + PAUSE_S

    def _show(self) -> None:
        self._broken.set(len(self.findings))
        if self._drift is not None:
            self._drift.set(self.drift)

    def _age_s(self) -> float:
        if self.swept_at_us:
            return (now_us() - self.swept_at_us) / 1e6
        return time.monotonic() - self._started


class CheckRunner:
    """Runs the checks of a service in its process. Every process of it looks for itself."""

    def __init__(self, service: str, checks: Sequence[Check]) -> None:
        self.standing = [Standing(check, service) for check in checks]
        self._task: asyncio.Task[None] | None = None
        self._looked = asyncio.Event()
        self._woken = asyncio.Event()

    def start(self) -> None:
        """Begins to look, if there is anything to look at."""
        if self.standing:
            self._task = asyncio.create_task(self._run(), name="checks")

    async def stop(self) -> None:
        """Ends looking."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None

    async def whole(self) -> None:
        """Returns when everything was looked at by sweeps that have begun after now.

        A check that has a problem is not waited for.
        """
        since = now_us()
        while any(each.swept_from_us < since and not each.problem for each in self.standing):
            for each in self.standing:
                if each.swept_from_us < since:
                    each.wake()
            self._woken.set()
            await self._looked.wait()

    async def _run(self) -> None:
        while True:
            began = time.monotonic()
            for each in self.standing:
                await each.look()
            self._tell()
            took = time.monotonic() - began
            pause = took * (1 / SHARE - 1)
            if all(each.rests() for each in self.standing):
                pause = max(pause, PAUSE_S)
            self._woken.clear()
            try:
                await asyncio.wait_for(self._woken.wait(), pause)
            except TimeoutError:
                continue

    def _tell(self) -> None:
        self._looked.set()
        self._looked = asyncio.Event()
