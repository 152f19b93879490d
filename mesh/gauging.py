"""What a process measures of itself: its event loop, its database, its certificate."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from functools import partial

from mesh.db import Database
from mesh.identity.workload import WorkloadIdentity
from observability import metrics

__all__ = ["gauge_certificate", "gauge_database", "watch_loop"]

_EVERY_S = 0.25


async def watch_loop() -> None:
    """Measures how late the event loop is, four times a second, for as long as it runs."""
    loop = asyncio.get_running_loop()
    while True:
        due_at = loop.time() + _EVERY_S
        await asyncio.sleep(_EVERY_S)
        metrics.LOOP_LAG.record(max(loop.time() - due_at, 0.0))


def gauge_database(database: Database) -> None:
    """Has it told how many units wait or run, and how many connections there are."""
    metrics.DB_UNITS.observe(lambda: database.units)
    for place, state in enumerate(("used", "idle")):
        metrics.DB_CLIENT_CONNECTIONS.observe(partial(_connections, database, place), state)


def _connections(database: Database, place: int) -> int | None:
    found = database.connections()
    return None if found is None else found[place]


def gauge_certificate(identity: WorkloadIdentity) -> None:
    """Has it told how long the certificate of the process is good, and was when it was new."""
    metrics.CERTIFICATE_LEFT.observe(
        lambda: (identity.expires_at - datetime.now(UTC)).total_seconds()
    )
    metrics.CERTIFICATE_LIFE.observe(lambda: identity.life_s or None)
