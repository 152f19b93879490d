"""How often a client may have its calls repeated: a budget of tokens for each service it asks.

The mesh repeats an idempotent call that found no answer up to three times. When a service answers
nothing at all, that would be four times the load, just when it can bear it least. So each call adds
a tenth of a token, each one that failed although it was repeated takes three, and while there are
none a call says in a header that it is not to be repeated: routes without a retry policy are for
those (`mesh.xds.routes`). Over time no more than a tenth is added to what is asked.

Source of the idea: gRFC A6 (retry throttling), which C-core has for service configs only, and
the retry budgets of Finagle.
"""

from __future__ import annotations

__all__ = ["REPEAT_HEADER", "REPEAT_NO", "RetryBudget"]

# A route of the mesh looks for it: see `mesh.xds.routes`.
REPEAT_HEADER = "mesh-repeat"
REPEAT_NO = "no"

_SHARE = 0.1
_MOST = 30.0
# What so many calls that run when a service dies will take is owed; more is forgiven.
_LEAST = -150.0
_REPEATS = 3.0


class RetryBudget:
    """The budget for one service. Not for several threads."""

    __slots__ = ("tokens",)

    def __init__(self) -> None:
        self.tokens = _MOST

    def ask(self) -> bool:
        """Counts a call in. Tells whether it may be repeated."""
        if self.tokens < _MOST:
            self.tokens += _SHARE
        return self.tokens > 0.0

    def spend(self) -> None:
        """Counts a call that found no answer although it was repeated."""
        self.tokens = max(self.tokens - _REPEATS, _LEAST)
