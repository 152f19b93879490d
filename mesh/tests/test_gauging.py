"""What a process measures of itself."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

from mesh.db import open_database
from mesh.db.migrate import migrate
from mesh.gauging import gauge_certificate, gauge_database, watch_loop
from mesh.identity.workload import WorkloadIdentity
from mesh.testing.waiting import eventually
from observability import metrics


class Identity(WorkloadIdentity):
    """An identity with a certificate of an hour, of which a third is left."""

    def __init__(self) -> None:
        """Needs nothing."""

    @property
    def expires_at(self) -> datetime:
        return datetime.now(UTC) + timedelta(minutes=20)

    @property
    def life_s(self) -> float:
        return 3600.0


async def test_a_loop_that_is_held_up_is_seen_to_lag() -> None:
    before = sum(metrics.LOOP_LAG.buckets()[7:])
    watcher = asyncio.create_task(watch_loop())
    await asyncio.sleep(0)
    time.sleep(0.32)  # noqa: ASYNC251 - that is the fault

    await eventually(lambda: sum(metrics.LOOP_LAG.buckets()[7:]) > before)
    watcher.cancel()
    await asyncio.gather(watcher, return_exceptions=True)


async def test_a_database_tells_how_many_wait(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/x.db"
    await asyncio.to_thread(migrate, url, None)
    database = await open_database(url)
    gauge_database(database)

    assert metrics.DB_UNITS.bind().value == 0
    assert metrics.DB_CLIENT_CONNECTIONS.bind("used").value is None
    await database.close()


def test_a_certificate_tells_what_is_left_of_its_life() -> None:
    gauge_certificate(Identity())

    left, life = metrics.CERTIFICATE_LEFT.bind().value, metrics.CERTIFICATE_LIFE.bind().value
    assert left is not None
    assert 1190 < left <= 1200
    assert life == 3600.0
