"""A full disk and a full stream hold events back; none is lost, and no service is started anew."""

from __future__ import annotations

import asyncio
import os
from functools import partial
from pathlib import Path

import pytest

from mesh.events.jetstream import Jetstream
from mesh.testing.nats import NatsServer
from mesh.testing.waiting import eventually

from .books import STREAM
from .colony import Colony, a_colony, count
from .disks import a_small_disk, needs_root

pytestmark = [pytest.mark.faults, pytest.mark.timeout(180)]

WAITING = 500


def unsent(colony: Colony) -> int:
    return count(colony.folder / "ledger.db", "outbox WHERE sent_at_us IS NULL")


def waits(colony: Colony) -> bool:
    return unsent(colony) >= WAITING


def flows(colony: Colony, events: int) -> bool:
    """Tells whether the reader has applied so many."""
    return all(
        count(colony.folder / "reader.db", table) >= events for table in ("lines", "effects")
    )


@needs_root
async def test_a_full_disk_of_nats_holds_events_back_and_loses_none(tmp_path: Path) -> None:
    with a_small_disk(tmp_path / "small", 48) as disk:
        nats = NatsServer(tmp_path / "nats", store=disk / "jetstream")
        async with a_colony(tmp_path / "books", nats=nats, deadly=False) as colony:
            colony.tend()
            pids = colony.pids
            await eventually(partial(flows, colony, 200), 60)
            ballast = disk / "ballast"
            fill(ballast)
            await eventually(partial(waits, colony), 60)
            acked = colony.acked

            ballast.unlink()
            # The server does not recover from a full disk: it, and nothing else, is restarted.
            nats.stop()
            nats.start()
            await eventually(partial(flows, colony, acked), 60)
            assert colony.pids == pids
            await colony.settle()
            violations = await colony.violations()
            print(
                f"\nfull disk: {WAITING} events waited while {acked} entries were acked, all"
                f" {colony.events} arrived, {len(violations)} violations, no service restarted"
            )
            assert violations == []


@needs_root
async def test_a_full_disk_of_the_databases_refuses_callers_and_loses_nothing_that_was_acked(
    tmp_path: Path,
) -> None:
    nats = NatsServer(tmp_path / "nats")
    with a_small_disk(tmp_path / "small", 24) as disk:
        async with a_colony(disk, nats=nats, deadly=False) as colony:
            colony.tend()
            pids = colony.pids
            await eventually(partial(flows, colony, 200), 60)
            fill(disk / "ballast")
            await eventually(partial(is_refusing, colony), 60)
            acked = colony.acked

            (disk / "ballast").unlink()
            await eventually(partial(flows, colony, acked + 200), 60)
            assert colony.pids == pids
            await colony.settle()
            violations = await colony.violations()
            print(
                f"\nfull disk of the databases: {acked} entries acked before, {colony.acked} in"
                f" all, {len(violations)} violations, no service restarted"
            )
            assert violations == []


async def is_refusing(colony: Colony) -> bool:
    """Tells whether nothing was acked for half a second."""
    before = colony.acked
    await asyncio.sleep(0.5)
    return colony.acked == before


async def test_a_full_stream_holds_events_back_and_loses_none(tmp_path: Path) -> None:
    async with a_colony(tmp_path / "books", deadly=False) as colony:
        colony.tend()
        pids = colony.pids
        await eventually(partial(flows, colony, 200), 60)
        await resize(colony, full=True)
        await eventually(partial(waits, colony), 60)
        acked = colony.acked

        await resize(colony, full=False)
        await eventually(partial(flows, colony, acked), 60)
        assert colony.pids == pids
        await colony.settle()
        violations = await colony.violations()
        print(
            f"\nfull stream: {WAITING} events waited while {acked} entries were acked, all"
            f" {colony.events} arrived, {len(violations)} violations, no service restarted"
        )
        assert violations == []


async def resize(colony: Colony, *, full: bool) -> None:
    """Leaves the stream no room, or more than it needs: what an operator does who sees it full."""
    jetstream = Jetstream(colony.nats.url, service="test")
    await jetstream.start()
    try:
        connection = await jetstream.connection()
        found = await connection.api(f"STREAM.INFO.{STREAM}")
        size = found["state"]["bytes"] if full else 512 << 20
        await connection.api(f"STREAM.UPDATE.{STREAM}", {**found["config"], "max_bytes": size})
    finally:
        await jetstream.stop()


def fill(ballast: Path) -> None:
    """Writes until the disk is full."""
    with ballast.open("wb") as file:
        try:
            while True:
                os.write(file.fileno(), bytes(1 << 16))
        except OSError:
            pass
