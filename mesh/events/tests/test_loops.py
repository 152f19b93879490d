from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from mesh.db import Database, UnitOfWork, sql
from mesh.events import Projection, Reaction
from mesh.events.jetstream import Jetstream
from mesh.events.loops import EventLoops
from mesh.testing.nats import NatsServer
from mesh.testing.waiting import eventually

from .contract import Order
from .shop import GREETING, ORDERS, noted, place, project, unsent


@asynccontextmanager
async def looping(
    database: Database,
    jetstream: Jetstream,
    projections: Sequence[Projection] = (ORDERS,),
    reactions: Sequence[Reaction] = (GREETING,),
) -> AsyncIterator[EventLoops]:
    loops = EventLoops(database, jetstream, "shop", projections, reactions)
    await loops.start()
    try:
        yield loops
    finally:
        await loops.stop()


async def has_noted(database: Database, listener: str, count: int) -> bool:
    return len(await noted(database, listener)) >= count


async def test_a_committed_event_reaches_a_projection_and_a_reaction_once(
    database: Database, jetstream: Jetstream
) -> None:
    async with looping(database, jetstream):
        await database.transact(place, "a", 1, 2)
        await eventually(lambda: has_noted(database, "projection", 2))
        await eventually(lambda: has_noted(database, "reaction", 2))
        await database.transact(place, "b", 1)
        await eventually(lambda: has_noted(database, "projection", 3))
        await eventually(lambda: has_noted(database, "reaction", 3))
    assert await noted(database, "projection") == [("a", 1), ("a", 2), ("b", 1)]
    assert sorted(await noted(database, "reaction")) == [("a", 1), ("a", 2), ("b", 1)]


async def test_an_event_of_a_refused_unit_of_work_is_never_told(
    database: Database, jetstream: Jetstream
) -> None:
    async def refuse(work: UnitOfWork, order_id: str) -> None:
        await place(work, order_id, 1)
        raise ValueError("no")

    async with looping(database, jetstream):
        with pytest.raises(ValueError, match="no"):
            await database.transact(refuse, "refused")
        await database.transact(place, "kept", 1)
        await eventually(lambda: has_noted(database, "projection", 1))
    assert await noted(database, "projection") == [("kept", 1)]


async def test_a_service_works_without_nats_and_tells_its_events_when_it_comes(
    database: Database, tmp_path: Path
) -> None:
    server = NatsServer(tmp_path / "late")
    server.start()
    server.stop()
    jetstream = Jetstream(server.url, service="shop")
    await jetstream.start()
    try:
        async with looping(database, jetstream) as loops:
            for number in range(1, 251):
                await database.transact(place, "a", number)
            await eventually(lambda: loops.leads)
            assert [missing.partition(":")[0] for missing in loops.missing()] == ["nats"]
            assert await unsent(database) == 250
            await eventually(lambda: (loops._outbox_age_s() or 0) > 0)
            server.start()
            await eventually(lambda: has_noted(database, "projection", 250))
            await eventually(lambda: has_noted(database, "reaction", 250))
            assert loops.missing() == []
            await eventually(lambda: loops._outbox_age_s() is None)
    finally:
        await jetstream.stop()
        server.kill()
    expected = [("a", number) for number in range(1, 251)]
    assert await noted(database, "projection") == expected
    assert await noted(database, "reaction") == expected


async def test_killing_nats_in_the_middle_loses_nothing_and_doubles_nothing(
    database: Database, jetstream: Jetstream, nats_server: NatsServer
) -> None:
    keys = [f"order-{n}" for n in range(20)]
    async with looping(database, jetstream):
        for number in range(1, 31):
            await asyncio.gather(*(database.transact(place, key, number) for key in keys))
            if number % 10 == 0:
                nats_server.kill()
                nats_server.start()
        await eventually(lambda: has_noted(database, "projection", 600))
        await eventually(lambda: has_noted(database, "reaction", 600))
    for listener in ("projection", "reaction"):
        applied = await noted(database, listener)
        assert len(applied) == 600
        for key in keys:
            assert [n for order_id, n in applied if order_id == key] == list(range(1, 31))


async def test_two_processes_share_the_work_in_order_and_the_second_takes_over(
    database: Database, jetstream: Jetstream
) -> None:
    async with looping(database, jetstream) as first:
        await eventually(lambda: first.leads)
        async with looping(database, jetstream) as second:
            for number in range(1, 51):
                await database.transact(place, "a", number)
            await eventually(lambda: has_noted(database, "projection", 50))
            assert not second.leads
            await first.stop()
            await eventually(lambda: second.leads)
            for number in range(51, 101):
                await database.transact(place, "a", number)
            await eventually(lambda: has_noted(database, "projection", 100))
            await eventually(lambda: has_noted(database, "reaction", 100))
    expected = [("a", number) for number in range(1, 101)]
    assert await noted(database, "projection") == expected
    assert await noted(database, "reaction") == expected


async def test_what_was_sent_or_applied_long_ago_is_forgotten_however_much_it_is(
    database: Database, jetstream: Jetstream
) -> None:
    old = [{"id": f"00000000-{number:04}"} for number in range(2_500)]

    async def leave_old(work: UnitOfWork) -> None:
        await work.execute_many(
            sql(
                "INSERT INTO outbox (event_id, subject, type, key, version, headers, payload,"
                " created_at_us, sent_at_us) VALUES (:id, '', '', '', 0, '', '', 1, 1)"
            ),
            old,
        )
        await work.execute_many(
            sql("INSERT INTO inbox (consumer, event_id, applied_at_us) VALUES (:name, :id, 1)"),
            [{**each, "name": "shop-greeting"} for each in old],
        )

    async def kept() -> bool:
        counts = sql(
            "SELECT (SELECT COUNT(*) FROM outbox) AS sent, (SELECT COUNT(*) FROM inbox) AS seen"
        )
        row = await database.read(lambda work: work.fetch_one(counts))
        assert row is not None
        return (row["sent"], row["seen"]) == (1, 1)

    await database.transact(leave_old)
    async with looping(database, jetstream):
        await database.transact(place, "a", 1)
        await eventually(kept)


async def test_a_handler_of_what_is_no_event_is_refused_at_the_start(
    database: Database, jetstream: Jetstream
) -> None:
    with pytest.raises(TypeError, match="not an event"):
        EventLoops(database, jetstream, "shop", [Projection(name="x", on={Order: project})])
