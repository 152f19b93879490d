"""What must always be true of a service's rows, and is looked at all the time.

A service declares checks. Each looks at everything, part by part, again and again, and first at
what has changed of late; it reads snapshots and takes a small share of the time. What is found is
logged once, shown by metrics and by `meshapi.v1.ChecksService`, and stands until a later look finds
it mended.

General layout:

runner   looks, paces itself, keeps what was found
api      tells it
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from observability.instruments import Gauge

if TYPE_CHECKING:
    from mesh.chassis import Chassis
    from mesh.db import UnitOfWork

__all__ = ["Check", "Finding", "Part", "on_snapshots"]


@dataclass(frozen=True, slots=True)
class Finding:
    """A thing of which a check is not true: what it is about, what is wrong in a sentence that
    carries nothing personal, and how far off it is in the check's unit.
    """

    subject: str
    sentence: str
    drift: int = 0


@dataclass(frozen=True, slots=True)
class Part:
    """What one look has found among so many rows, and after what the next begins; empty at the end.

    `after` is the check's own word. A part is small: a few hundred rows.
    """

    findings: Sequence[Finding] = ()
    looked_at: int = 0
    after: str = ""


@dataclass(frozen=True, kw_only=True)
class Check:
    """Something that must always be true.

    `sweep` looks at one part of everything, from `""` on. `recent`, if there is one, looks at what
    has changed since it was asked last. They read, in units that they give to `Chassis.read`, and
    may ask other services; what they raise keeps the check from being made, and is told.

    `drift` is the metric that sums up how far off things are; its attributes are the check and the
    service.
    """

    name: str
    sweep: Callable[[str], Awaitable[Part]]
    recent: Callable[[], Awaitable[Part]] | None = None
    drift: Gauge | None = None


def on_snapshots(
    chassis: Chassis, look: Callable[[UnitOfWork, str], Awaitable[Part]]
) -> Callable[[str], Awaitable[Part]]:
    """Makes a sweep of a unit that reads one part from one snapshot."""

    async def sweep(after: str) -> Part:
        return await chassis.read(look, after)

    return sweep
