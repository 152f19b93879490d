"""One poisonous event among ten thousand: 99 of 100 keys do not notice, the last one is mended."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest

from mesh.db import open_database
from mesh.events.envelope import seal
from mesh.events.jetstream import Jetstream
from mesh.events.loops import EventLoops
from mesh.testing.nats import NatsServer
from mesh.testing.waiting import eventually

from . import books
from .books import EFFECTS, Part
from .colony import column, count, end, spawn, versions

pytestmark = [pytest.mark.faults, pytest.mark.timeout(400)]

EVENTS, KEYS, ROUNDS = 10_000, 100, 4
RATE = 400.0
POISON = ("account-7", 30)
# The second one shows how much the first differs from itself.
READERS = ("clean", "clean again", "poisoned")


async def test_one_poisonous_event_among_ten_thousand_delays_no_other_key_and_is_redriven_in_order(
    tmp_path: Path,
) -> None:
    found: dict[str, list[float]] = {name: [] for name in READERS}
    for number in range(ROUNDS):
        folder = tmp_path / f"round-{number}"
        folder.mkdir()
        for part in await run(folder, READERS[number % 3 :] + READERS[: number % 3]):
            found[part.instance] += latencies(part)
    for name in READERS:
        p50, p99 = (percentile(found[name], each) for each in (50, 99))
        ratio = p99 / percentile(found["clean"], 99)
        print(
            f"\n{name:<12} 99 keys: p50 {p50:5.1f} ms, p99 {p99:5.1f} ms, ratio {ratio:.2f}", end=""
        )
    print()


async def run(folder: Path, names: Sequence[str]) -> list[Part]:
    """Three readers hear the same events at the same time, one of them of poison; it is mended."""
    nats = NatsServer(folder / "nats")
    nats.start()
    parts = [
        Part(
            role="reader",
            service=name.replace(" ", "-"),
            instance=name,
            folder=folder / name,
            nats_url=nats.url,
            poison=POISON if name == "poisoned" else None,
        )
        for name in names
    ]
    ledger = Part(
        role="ledger",
        instance="ledger",
        folder=folder / "ledger",
        nats_url=nats.url,
        rate=RATE,
        limit=EVENTS,
    )
    with ExitStack() as stack:
        stack.callback(nats.kill)
        for part in (*parts, ledger):
            books.prepare(part.folder, KEYS)
            stack.callback(end, spawn(part))
        await eventually(partial(is_through, parts), 180)
    told = versions(ledger.database, "postings")
    key, version = POISON
    for part in parts:
        without = {key: told[key][: version - 1]} if part.poison else {}
        assert versions(part.database, "effects") == told | without
        if part.poison:
            await redrive(part)
            assert versions(part.database, "effects") == told
    return parts


def is_through(parts: Sequence[Part]) -> bool:
    """Tells whether every event is applied or parked."""
    return all(
        count(part.database, "effects") + count(part.database, "dead_letters") == EVENTS
        for part in parts
    )


async def redrive(part: Part) -> None:
    """Applies what was parked, by code that can."""
    parked = column(part.database, "SELECT key FROM dead_letters")
    assert set(parked) == {POISON[0]}
    database = await open_database(
        f"sqlite:///{part.database}", seal=partial(seal, source=part.role)
    )
    try:
        jetstream = Jetstream(part.nats_url, service=part.service)
        loops = EventLoops(database, jetstream, part.service, reactions=[EFFECTS])
        applied = [told async for told in loops.reactions[0].redrive()]
        assert len(applied) == len(parked)
    finally:
        await database.close()


def latencies(part: Part) -> list[float]:
    """Milliseconds from told to applied, of the keys that are not poisoned; the start left out."""
    lines = (part.folder / "latencies").read_text().splitlines()[EVENTS // 20 :]
    return [int(of) / 1_000 for key, _, of in map(str.split, lines) if key != POISON[0]]


def percentile(samples: list[float], percent: int) -> float:
    return sorted(samples)[len(samples) * percent // 100]
