"""When a message that was not taken is posted again: the phases of an SNS delivery policy.

https://docs.aws.amazon.com/sns/latest/dg/sns-message-delivery-retries.html
"""

from __future__ import annotations

import random
from dataclasses import dataclass

__all__ = ["Schedule"]


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """Tries at once, then before, during and after the backoff; no more than `total_s` in all.

    The pauses of the backoff grow from `min_s` to `max_s` by the same factor each. Jitter makes any
    pause but those of nothing up to a fifth shorter.
    """

    immediate: int = 3
    before: int = 2
    backoff: int = 10
    after: int = 100_000
    min_s: float = 1.0
    max_s: float = 20.0
    total_s: float = 3_600.0

    def pause_s(self, failures: int) -> float | None:
        """Tells how long to wait after so many failures; None if it was the last try."""
        if self._waited_s(failures) > self.total_s:
            return None
        if failures > self.immediate + self.before + self.backoff + self.after:
            return None
        return self._pause_s(failures) * random.uniform(0.8, 1.0)  # noqa: S311

    def _pause_s(self, failures: int) -> float:
        number = failures - self.immediate
        if number <= 0:
            return 0.0
        number -= self.before
        if number <= 0:
            return self.min_s
        if number >= self.backoff:
            return self.max_s
        growth: float = (self.max_s / self.min_s) ** ((number - 1) / max(1, self.backoff - 1))
        return self.min_s * growth

    def _waited_s(self, failures: int) -> float:
        """The time from the first try to that after so many failures, without jitter."""
        grown = self.immediate + self.before + self.backoff
        waited = sum(map(self._pause_s, range(1, min(failures, grown) + 1)))
        return waited + max(0, failures - grown) * self.max_s
