from __future__ import annotations

import asyncio
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from mesh.db import Database, UnitOfWork, open_database, sql
from mesh.events import relay as relay_module
from mesh.events.envelope import describe, seal
from mesh.events.jetstream import ApiError, Jetstream
from mesh.events.relay import Relay
from mesh.events.stream import StreamSettings, create_stream, ids_at_end, put
from mesh.testing.waiting import eventually

from .contract import OrderPaid
from .reading import ids_in
from .shop import place, unsent

FORGET = sql("UPDATE outbox SET sent_at_us = NULL")


async def forget_marks(work: UnitOfWork) -> None:
    """What a crash leaves between the server's ack and our mark."""
    await work.execute(FORGET)


async def test_events_are_sent_in_the_order_of_their_commits(
    database: Database, jetstream: Jetstream
) -> None:
    for number in range(1, 131):
        await database.transact(place, f"order-{number % 3}", number)
    relay = Relay(database, jetstream)
    assert [await relay.step() for _ in range(3)] == [100, 30, 0]
    found = await ids_in(await jetstream.connection())
    assert [version for _, _, version in found] == list(range(1, 131))
    assert await unsent(database) == 0


async def test_a_publish_whose_ack_was_lost_is_stored_once(
    database: Database, jetstream: Jetstream
) -> None:
    relay = Relay(database, jetstream)
    await database.transact(place, "a", *range(1, 51))
    await relay.step()
    await database.transact(forget_marks)
    await database.transact(place, "a", *range(51, 101))
    assert await Relay(database, jetstream).step() == 100
    found = await ids_in(await jetstream.connection())
    assert [version for _, _, version in found] == list(range(1, 101))


async def test_a_batch_with_an_event_that_is_there_is_sent_one_by_one(jetstream: Jetstream) -> None:
    connection = await jetstream.connection()
    await create_stream(connection, describe(OrderPaid.DESCRIPTOR), StreamSettings())
    events = [seal(OrderPaid(order_id="a", number=n), source="shop") for n in range(5)]
    await put(connection, events[1:3])
    await put(connection, events[1:])
    await put(connection, events)
    ids = [events[n].event_id for n in (1, 2, 3, 4, 0)]
    assert [event_id for event_id, _, _ in await ids_in(connection)] == ids


async def test_a_lost_ack_is_found_out_even_after_the_server_has_forgotten_the_id(
    database: Database, jetstream: Jetstream
) -> None:
    settings = StreamSettings(duplicate_window_s=1)
    await database.transact(place, "a", 1)
    await Relay(database, jetstream, settings).step()
    connection = await jetstream.connection()
    probe = seal(OrderPaid(order_id="probe", number=1), source="shop")

    async def is_forgotten() -> bool:
        await put(connection, [probe])
        return [found for found, _, _ in await ids_in(connection)].count(probe.event_id) == 2

    await eventually(is_forgotten)
    await database.transact(forget_marks)
    await Relay(database, jetstream, settings).step()
    assert [key for _, key, _ in await ids_in(connection)].count("a") == 1
    assert await unsent(database) == 0


async def test_two_relays_at_once_lose_nothing_and_keep_the_order_of_each_key(
    database: Database, jetstream: Jetstream, tmp_path: Path
) -> None:
    beside = await open_database(f"sqlite:///{tmp_path}/shop.db", seal=partial(seal, source="shop"))
    other = Jetstream((jetstream._url), service="shop")
    await other.start()
    relays = [Relay(database, jetstream), Relay(beside, other)]
    tasks = [asyncio.create_task(relay.run()) for relay in relays]
    keys = [f"order-{n}" for n in range(10)]
    try:
        for number in range(1, 41):
            units = (database.transact(place, key, number) for key in keys)
            await asyncio.gather(*units)
            for relay in relays:
                relay.wake()

        async def is_empty() -> bool:
            return await unsent(database) == 0

        await eventually(is_empty)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await other.stop()
        await beside.close()
    found = await ids_in(await jetstream.connection())
    assert len({event_id for event_id, _, _ in found}) == len(found) == 400
    for key in keys:
        assert [version for _, of, version in found if of == key] == list(range(1, 41))


async def test_a_relay_that_was_frozen_with_events_in_its_hands_repeats_none_of_them(
    database: Database, jetstream: Jetstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = StreamSettings(duplicate_window_s=1)
    connection = await jetstream.connection()
    frozen, thawed = asyncio.Event(), asyncio.Event()

    async def freeze(*arguments: Any, **options: Any) -> int:
        frozen.set()
        await thawed.wait()
        return await put(*arguments, **options)

    await database.transact(place, "a", *range(1, 21))
    with monkeypatch.context() as patched:
        patched.setattr(relay_module, "put", freeze)
        late = asyncio.create_task(Relay(database, jetstream, settings).step())
        await frozen.wait()
    # Its successor sends them, and more than anybody looks back; the server forgets their ids.
    successor = Relay(database, jetstream, settings)
    for number in range(21, 701):
        await database.transact(place, f"order-{number % 7}", number)
    while await successor.step():
        pass
    probe = seal(OrderPaid(order_id="probe", number=1), source="shop")

    async def is_forgotten() -> bool:
        await put(connection, [probe])
        return [found for found, _, _ in await ids_in(connection)].count(probe.event_id) == 2

    await eventually(is_forgotten)
    thawed.set()
    with pytest.raises(ApiError, match="wrong last sequence"):
        await late
    versions = [version for _, key, version in await ids_in(connection) if key != "probe"]
    assert versions == list(range(1, 701))


async def test_the_end_of_a_stream_is_all_of_a_short_one_and_no_more_of_a_long_one(
    database: Database, jetstream: Jetstream
) -> None:
    relay = Relay(database, jetstream, publishes=[OrderPaid])
    task = asyncio.create_task(relay.run())
    connection = await jetstream.connection()

    async def is_made() -> bool:
        names = await connection.api("STREAM.NAMES", {})
        return "ORDERS" in (names["streams"] or [])

    try:
        await eventually(is_made)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert await ids_at_end(connection, "ORDERS", 3) == {}
    await database.transact(place, "a", 1, 2, 3, 4, 5)
    await relay.step()
    ids = [event_id for event_id, _, _ in await ids_in(connection)]
    assert set(await ids_at_end(connection, "ORDERS", 3)) == set(ids[2:])
    assert set(await ids_at_end(connection, "ORDERS", 100)) == set(ids)


async def test_sent_events_are_kept_for_a_week_only(
    database: Database, jetstream: Jetstream
) -> None:
    await database.transact(place, "old", 1)
    await database.transact(place, "new", 1)
    await Relay(database, jetstream).step()
    age = sql("UPDATE outbox SET sent_at_us = 1 WHERE key = 'old'")
    await database.transact(lambda work: work.execute(age))
    await database.transact(relay_module._prune)
    keys = sql("SELECT key FROM outbox")
    rows = await database.read(lambda work: work.fetch_all(keys))
    assert [row["key"] for row in rows] == ["new"]
