"""How much a server is doing, and when it turns calls away.

Theory of operation. grpc.aio takes calls in one by one, each in its turn of the event loop. When
there are more calls than the processor can serve, they therefore pile up in the core, unseen and
unanswered, and every one of them is late. So a server that has no time to spare is *congested*:

* each call, once taken in, waits at a turnstile, and the loop takes in all others that have arrived
  before the next one passes. What piled up in the core is now a queue that can be counted;
* a call is turned away at once if, at the pace at which calls pass, it would wait for longer than
  a quarter of its deadline; and at the turnstile, if more than half of its time has passed.

Whether there is time to spare is measured ten times a second, outside of any call: the share of
time for which the loop's thread ran or waited for a processor, and how late the measurement is.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from pathlib import Path

from mesh.errors import Behind, DeadlineExceeded, Error, Overloaded, Transient

__all__ = ["Load", "turned_away"]

_TICK_S = 0.1
_CONGESTED_ABOVE = 0.92
_FREE_BELOW = 0.75
_LATE_S = 0.025
# A queue of so many harms nobody, whatever the pace.
_LEAST_ROOM = 64
_PATIENCE_SHARE = 0.25
_LATE_SHARE = 0.5
# How long no new call must have come before the next one in the queue passes, and how long it waits
# for that at the most: shares of the time between two that pass.
_QUIET_SHARE = 0.1
_WAIT_SHARE = 0.5
_FIRST_SPACING_S = 0.002
_MOST_SPACING_S = 0.050
# A process that was frozen for a moment is not slow: one pass counts for little, and never for more
# than a few times what was expected of it.
_WEIGHT = 0.1
_MOST_TIMES = 4.0
_LEAST_PAUSE_S = 0.05
_MOST_PAUSE_S = 2.0

_SCHEDULED = Path("/proc/thread-self/schedstat")


class Load:
    """What runs, and what waits. `limit` is the summed cost of the calls that may run at once.

    `started` counts the calls taken in, `faults` those that failed by no fault of their caller's.
    `watch` must run for the rest to be measured; without it only `limit` holds.
    """

    __slots__ = (
        "_passed_at",
        "_queue",
        "_spacing_s",
        "_turned_away",
        "congested",
        "faults",
        "limit",
        "running",
        "started",
    )

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.running = 0
        self.started = 0
        self.faults = 0
        self.congested = False
        self._queue: deque[asyncio.Future[None]] = deque()
        self._turned_away = 0
        self._passed_at = 0.0
        self._spacing_s = 0.0

    @property
    def pause_s(self) -> float:
        """After how many seconds a call that was turned away may be made again."""
        wait_s = len(self._queue) * self._spacing_s
        return min(max(wait_s, _LEAST_PAUSE_S), _MOST_PAUSE_S)

    def is_full(self, timeout_s: float) -> bool:
        """Tells whether a call with so many seconds would wait for too long in a congested server;
        counts it as turned away if so.
        """
        waiting = len(self._queue)
        if waiting < _LEAST_ROOM or waiting * self._spacing_s < timeout_s * _PATIENCE_SHARE:
            return False
        self._turned_away += 1
        return True

    def begin(self, cost: int) -> None:
        """Counts a call in. Raises `Overloaded` when the server bears no more."""
        if self.running + cost > self.limit:
            raise turned_away(self.pause_s)
        self.running += cost
        self.started += 1

    def end(self, cost: int) -> None:
        """Counts a call out."""
        self.running -= cost

    def note(self, failure: BaseException | None) -> None:
        """Takes notice of a call that failed. A refusal is an answer, too much work no fault."""
        if isinstance(failure, Error):
            own = isinstance(failure, Transient) and not isinstance(failure, Behind | Overloaded)
            if not own or isinstance(failure, DeadlineExceeded):
                return
        self.faults += 1

    async def turn(self, until: float) -> None:
        """Waits for the turn of a call of a congested server; `until` is on the monotonic clock.

        Raises `Overloaded` when less than half of the call's time is left then: what has waited
        for so long would be late.
        """
        allowed = (until - time.monotonic()) * _LATE_SHARE
        waiting: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queue.append(waiting)
        try:
            must_wait = self._queue[0] is not waiting
            if must_wait:
                await waiting
            await self._take_in()
            if must_wait:
                self._measure(time.monotonic() - self._passed_at)
        finally:
            first = self._queue[0] is waiting
            self._queue.remove(waiting)
            if first:
                self._passed_at = time.monotonic()
                if self._queue and not self._queue[0].done():
                    self._queue[0].set_result(None)
        if until - time.monotonic() < allowed:
            raise turned_away(self.pause_s)

    async def watch(self) -> None:
        """Measures, for as long as it runs."""
        loop = asyncio.get_running_loop()
        seen, at = _busy_s(), loop.time()
        while True:
            await asyncio.sleep(_TICK_S)
            now, busy_s = loop.time(), _busy_s()
            took = now - at
            self._judge((busy_s - seen) / took, took - _TICK_S)
            seen, at = busy_s, now

    def _measure(self, spacing_s: float) -> None:
        """Learns how long one call keeps the next one waiting."""
        known = self._spacing_s or spacing_s
        self._spacing_s = known + (min(spacing_s, _MOST_TIMES * known) - known) * _WEIGHT

    def _judge(self, busy: float, late_s: float) -> None:
        if busy > _CONGESTED_ABOVE or late_s > _LATE_S:
            self.congested = True
        elif busy < _FREE_BELOW and not self._queue:
            self.congested = False

    async def _take_in(self) -> None:
        """Gives the loop its turns for as long as they bring new calls, within reason."""
        spacing = min(self._spacing_s or _FIRST_SPACING_S, _MOST_SPACING_S)
        began = quiet_since = time.monotonic()
        seen = self.started + self._turned_away
        while True:
            await asyncio.sleep(0)
            now = time.monotonic()
            if seen != self.started + self._turned_away:
                seen, quiet_since = self.started + self._turned_away, now
            if now - quiet_since > _QUIET_SHARE * spacing or now - began > _WAIT_SHARE * spacing:
                return


def turned_away(pause_s: float) -> Overloaded:
    """Makes the error of a call that the server cannot bear."""
    return Overloaded("OVERLOADED", "The service has too much to do.", pause_s)


def _busy_s() -> float:
    """The seconds for which this thread has run, or waited for a processor."""
    try:
        ran, waited, _ = _SCHEDULED.read_bytes().split()
    except (OSError, ValueError):
        return time.thread_time()
    return (int(ran) + int(waited)) / 1e9
