"""A client that leaves an overloaded service in peace.

To refuse a call costs a server nearly as much as to answer one. So a client that is refused calls
some of them off itself: as many as keep what it sends half above what is taken. It learns that
there is room again from that half.

Source: Site Reliability Engineering, chapter 21 (adaptive throttling), with a smaller factor and a
shorter memory.
"""

from __future__ import annotations

import math
import random
import time

from mesh.errors import Overloaded

__all__ = ["Throttle"]

_FACTOR = 1.5
_MEMORY_S = 3.0
# For so long it only learns: what is on its way must have had the time to be answered.
_LEARNS_S = 0.5
# So few refusals call nothing off.
_LEAST = 5.0


class Throttle:
    """The memory of one client for one service. `active` is false as long as nothing is refused,
    and nothing need be told then.
    """

    __slots__ = ("_asked", "_at", "_learns_until", "_pause_s", "_taken", "active")

    def __init__(self) -> None:
        self.active = False
        self._asked = 0.0
        self._taken = 0.0
        self._pause_s = 1.0
        self._at = 0.0
        self._learns_until = 0.0

    def ask(self) -> None:
        """Counts a call in. Raises `Overloaded` when it is not to be made."""
        now = time.monotonic()
        rest = math.exp((self._at - now) / _MEMORY_S)
        self._at = now
        self._asked = self._asked * rest + 1.0
        self._taken *= rest
        excess = self._asked - _FACTOR * self._taken - _LEAST
        if self._asked - self._taken < 1.5:
            self.active = False
        elif excess > 0 and now > self._learns_until and random.random() * self._asked < excess:  # noqa: S311
            raise Overloaded("OVERLOADED", "The service has too much to do.", self._pause_s)

    def taken(self) -> None:
        """Counts a call that was answered."""
        self._taken += 1.0

    def refused(self, pause_s: float) -> None:
        """Counts a call that the service refused because it has too much to do."""
        self._pause_s = pause_s
        if not self.active:
            self.active = True
            self._asked, self._taken, self._at = 1.0, 0.0, time.monotonic()
            self._learns_until = self._at + _LEARNS_S
