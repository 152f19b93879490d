"""Asks for a second factor again, before what must not happen by an unlocked phone alone."""

from __future__ import annotations

import time

from mesh.errors import StepUpRequired
from mesh.rpc.context import User

__all__ = ["STEP_UP_S", "require_step_up"]

# How long a second factor counts as just proven, in seconds.
STEP_UP_S = 300


def require_step_up(user: User, *, now: float | None = None) -> None:
    """Lets a user go on who has proven a second factor just now.

    `now` is in seconds since 1970. Raises `StepUpRequired`, which travels as PERMISSION_DENIED,
    reason `STEP_UP_REQUIRED`, with a `meshapi.v1.StepUpRequired` detail. A rule may ask for it in
    the middle of a unit of work: nothing is kept then, and the same request goes through later.
    """
    proven_at = user.second_factor_at or 0
    if proven_at < (time.time() if now is None else now) - STEP_UP_S:
        raise StepUpRequired(STEP_UP_S)
