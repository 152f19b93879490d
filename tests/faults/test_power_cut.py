"""The power is cut at load: the page cache is lost, and nothing that was acknowledged is."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest

from bank.accounts.v1.events_pb2 import EntryPosted
from mesh.errors import Transient
from mesh.events.envelope import describe, seal
from mesh.events.jetstream import ApiError, Connection, Jetstream
from mesh.events.stream import StreamSettings, create_stream, put
from mesh.events.tests.reading import ids_in
from mesh.testing.nats import NatsServer
from mesh.testing.waiting import eventually

from .books import STREAM
from .colony import Colony, a_colony, count
from .disks import Disk, a_disk, needs_root

pytestmark = [pytest.mark.faults, pytest.mark.timeout(180), needs_root]

CUTS = 3
EVENTS = 1_500
SECONDS = 5.0


def has_acked(colony: Colony, entries: int) -> bool:
    colony.tend()
    return colony.acked >= entries


async def test_a_power_cut_of_everything_loses_nothing_that_was_acked(tmp_path: Path) -> None:
    with a_disk(tmp_path) as disk:
        async with a_colony(disk.path, rate=400) as colony:
            for cut in range(1, CUTS + 1):
                await eventually(partial(has_acked, colony, cut * EVENTS), 60)
                disk.cut_power()
                colony.kill_all()
                colony.nats.kill()
                disk.unmount()
                disk.mount()
                colony.nats.start()
            await colony.settle()
            violations = await colony.violations()
            print(
                f"\n{CUTS} power cuts: {colony.acked} entries acked, {colony.events} events,"
                f" {len(violations)} violations"
            )
            assert violations == []


async def test_a_database_that_does_not_sync_is_found_out(tmp_path: Path) -> None:
    with a_disk(tmp_path) as disk:
        async with a_colony(disk.path, mutant="no sync", rate=400) as colony:
            await eventually(partial(has_acked, colony, EVENTS), 60)
            disk.cut_power()
            colony.kill_all()
            colony.nats.kill()
            disk.unmount()
            disk.mount()
            try:
                kept = count(disk.path / "ledger.db", "postings")
            except Exception:
                kept = 0
            print(f"\nwithout sync: {kept} of {colony.acked} acked entries are left")
            assert kept < colony.acked


@pytest.mark.parametrize("sync", ["always", "2m"])
async def test_only_a_stream_that_is_synced_keeps_what_it_has_acked(
    sync: str, tmp_path: Path
) -> None:
    with a_disk(tmp_path) as disk:
        nats = NatsServer(tmp_path / "nats", store=disk.path / "jetstream", sync=sync)
        nats.start()
        try:
            async with _connected(nats) as connection:
                acked = await _publish(connection, disk)
            nats.kill()
            disk.unmount()
            disk.mount()
            nats.start()
            async with _connected(nats) as connection:
                left = await _ids_left(connection)
        finally:
            nats.kill()
        lost = len(set(acked) - set(left))
        print(f"\nsync_interval {sync}: {lost} of {len(acked)} acked events lost")
        assert len(acked) > 500
        assert (lost == 0) == (sync == "always")
        assert left == acked[: len(left)] or sync == "always"


@asynccontextmanager
async def _connected(nats: NatsServer) -> AsyncIterator[Connection]:
    jetstream = Jetstream(nats.url, service="test")
    await jetstream.start()
    try:
        yield await jetstream.connection()
    finally:
        await jetstream.stop()


async def _publish(connection: Connection, disk: Disk) -> list[str]:
    """Sends batches and single events until the power is cut; gives the ids that were acked."""
    await create_stream(connection, describe(EntryPosted.DESCRIPTOR), StreamSettings())
    acked: list[str] = []
    cut = asyncio.get_running_loop().call_later(SECONDS, disk.cut_power)
    until = time.monotonic() + SECONDS + 2
    try:
        for number in range(1_000_000):
            size = 50 if number % 2 else 1
            batch = [
                seal(EntryPosted(account_id=f"a-{n}", entry_id="e"), source="test")
                for n in range(size)
            ]
            async with asyncio.timeout(until - time.monotonic()):
                await put(connection, batch)
            acked += [each.event_id for each in batch]
    except (TimeoutError, Transient, ApiError):
        pass
    finally:
        cut.cancel()
    return acked


async def _ids_left(connection: Connection) -> list[str]:
    try:
        return [event_id for event_id, _, _ in await ids_in(connection, STREAM)]
    except ApiError as error:
        if error.code != ApiError.STREAM_NOT_FOUND:
            raise
        return []
