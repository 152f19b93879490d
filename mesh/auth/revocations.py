"""The sessions that were ended, for as long as a token of theirs could still be shown.

Each process keeps its own list, fed by the issuer's events (`mesh.events.revoked`), so that signing
out is felt everywhere at once and costs a call nothing. While NATS is away the list does not grow,
and a token is good until it expires: calls go on.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

from observability import logs

__all__ = ["KEPT_S", "Revocations"]

# A token's longest life, and how far clocks may be apart; then it has expired by itself.
KEPT_S = 900.0 + 60.0
MAX_KEPT = 200_000

log = logs.get_logger(__name__)


class Revocations:
    """The ids of ended sessions. `clock` counts seconds.

    `sessions` may be looked into at any time, and may hold some that need not be there any more.
    """

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.sessions: dict[str, float] = {}
        self._clock = clock

    def add(self, session_ids: Iterable[str]) -> None:
        """Ends sessions: from now on none of their tokens is good."""
        now = self._clock()
        for session_id in session_ids:
            self.sessions[session_id] = now
        while self.sessions:
            oldest = next(iter(self.sessions))
            if self.sessions[oldest] > now - KEPT_S:
                if len(self.sessions) <= MAX_KEPT:
                    break
                log.warning("too many sessions were ended at once; the first are forgotten")
            del self.sessions[oldest]
