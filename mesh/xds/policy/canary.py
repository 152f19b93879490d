"""The canary: shifts traffic to a version in steps, and takes it back when that version fails.

It is judged (`mesh.xds.policy.judge`) over the step and over its last ten seconds: a version that
starts to fail late must not be excused by a good beginning. All that it knows is in the policy, so
that it goes on where it was after a restart.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from mesh.clock import now_us
from mesh.errors import Error
from mesh.xds.policy.book import Book
from mesh.xds.policy.document import of_service
from mesh.xds.policy.judge import Judge, Loads, Measures, is_under_way, old_version
from meshapi.v1 import policy_pb2 as pb

__all__ = ["AUTHOR", "CanaryController"]

AUTHOR = "canary"

_LOOK_S = 0.5
_RECENT_S = 10.0
_US = 1_000_000

_log = logging.getLogger(__name__)


class CanaryController:
    """Carries the canaries of the policy out. `clock` tells microseconds since 1970."""

    def __init__(
        self, book: Book, loads: Loads, measures: Measures, clock: Callable[[], int] = now_us
    ) -> None:
        self._book = book
        self._judge = Judge(loads, measures)
        self._clock = clock

    async def run(self) -> None:
        """Looks at the canaries twice a second, for ever."""
        while True:
            await self.look()
            await asyncio.sleep(_LOOK_S)

    async def look(self) -> None:
        """Takes the next step of each canary that is due one."""
        self._judge.ask(self._book.current.policy)
        for name in [each.service for each in self._book.current.policy.services]:
            current = self._book.current
            told = of_service(current.policy, name)
            if not is_under_way(told):
                continue
            try:
                await self._tend(current, told)
            except Error as error:
                # The policy changed meanwhile, or cannot be kept now: look again.
                _log.warning("canary of %s waits: %s", told.service, error.message)

    def statuses(self) -> list[pb.CanaryStatus]:
        """Tells how the canaries stand."""
        return [
            self._status(told)
            for told in self._book.current.policy.services
            if told.HasField("canary")
        ]

    async def _tend(self, current: pb.PolicyRevision, told: pb.ServicePolicy) -> None:
        canary = told.canary
        if canary.state == pb.CANARY_STATE_UNSPECIFIED:
            await self._move(current, told, 0)
            return
        held_s = self._held_s(canary)
        if why := self._judge.fails(told, held_s) or self._judge.fails(
            told, min(held_s, _RECENT_S)
        ):
            await self._end(current, told, pb.CANARY_STATE_ROLLED_BACK, why)
        elif not self._waits_for(told):
            if canary.step + 1 < len(canary.steps):
                await self._move(current, told, canary.step + 1)
            else:
                await self._end(current, told, pb.CANARY_STATE_PROMOTED, "every step held")

    def _waits_for(self, told: pb.ServicePolicy) -> str:
        canary = told.canary
        if not is_under_way(told):
            return ""
        if canary.state == pb.CANARY_STATE_UNSPECIFIED or canary.step >= len(canary.steps):
            return "its first step"
        held_s = self._held_s(canary)
        left_s = canary.steps[canary.step].hold.ToNanoseconds() / 1e9 - held_s
        if left_s > 0:
            return f"{left_s:.0f} s to pass"
        return self._judge.waits_for(told, held_s)

    async def _move(self, current: pb.PolicyRevision, told: pb.ServicePolicy, step: int) -> None:
        weight = told.canary.steps[step].weight
        changed = _copy(told, weight)
        changed.canary.state = pb.CANARY_STATE_RUNNING
        changed.canary.step = step
        changed.canary.step_since.FromMicroseconds(self._clock())
        of = f"step {step + 1} of {len(told.canary.steps)}"
        await self._append(current, changed, f"{of}: {told.canary.to} gets {weight} %")

    async def _end(
        self,
        current: pb.PolicyRevision,
        told: pb.ServicePolicy,
        state: pb.CanaryState.ValueType,
        outcome: str,
    ) -> None:
        promoted = state == pb.CANARY_STATE_PROMOTED
        changed = _copy(told, 100 if promoted else 0)
        changed.canary.state = state
        changed.canary.outcome = outcome
        verb = "promoted" if promoted else "rolled back"
        _log.warning("canary of %s %s: %s", told.service, verb, outcome)
        await self._append(current, changed, f"{told.canary.to} is {verb}: {outcome}")

    async def _append(
        self, current: pb.PolicyRevision, changed: pb.ServicePolicy, reason: str
    ) -> None:
        policy = pb.MeshPolicy()
        policy.CopyFrom(current.policy)
        of_service(policy, changed.service).CopyFrom(changed)
        await self._book.append(
            policy,
            author=AUTHOR,
            reason=reason,
            expected=current.revision,
            forced=current.forced,
        )

    def _status(self, told: pb.ServicePolicy) -> pb.CanaryStatus:
        canary = told.canary
        status = pb.CanaryStatus(
            service=told.service, canary=canary, waiting_for=self._waits_for(told)
        )
        if canary.HasField("step_since"):
            seconds = self._held_s(canary)
            status.to.CopyFrom(self._judge.load(told, canary.to, seconds))
            getattr(status, "from").CopyFrom(self._judge.load(told, old_version(canary), seconds))
        return status

    def _held_s(self, canary: pb.Canary) -> float:
        return (self._clock() - canary.step_since.ToMicroseconds()) / _US


def _copy(told: pb.ServicePolicy, weight: int) -> pb.ServicePolicy:
    """Copies what is said of a service, with so many percent for the new version."""
    changed = pb.ServicePolicy()
    changed.CopyFrom(told)
    del changed.split[:]
    changed.split.add(version=old_version(told.canary), weight=100 - weight)
    changed.split.add(version=told.canary.to, weight=weight)
    return changed
