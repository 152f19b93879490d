from __future__ import annotations

from mesh.db import Database
from mesh.events import Reaction
from mesh.events.envelope import describe
from mesh.events.jetstream import Jetstream
from mesh.events.stream import StreamSettings, create_stream
from mesh.testing.waiting import eventually

from .contract import OrderPlaced
from .service import a_shop
from .shop import place, react


async def test_no_more_is_on_its_way_to_a_reaction_than_its_ceiling(
    database: Database, jetstream: Jetstream
) -> None:
    """300 events wait for a reaction that is paused: 256 here, the rest at the server."""
    paused = Reaction(name="greeting", on={OrderPlaced: react}, concurrency=0)
    async with a_shop(database, jetstream, [paused]) as shop:
        await database.transact(place, "a", *range(1, 301))

        async def is_full() -> bool:
            connection = await jetstream.connection()
            info = await connection.api("CONSUMER.INFO.ORDERS.shop-greeting")
            return (info["num_ack_pending"], info["num_pending"]) == (256, 44)

        async def lags() -> bool:
            return (await shop.subscriptions())["shop-greeting"].lag == 300

        await eventually(lags)
        await eventually(is_full)


async def test_a_stream_keeps_events_for_so_long_and_drops_none_to_make_room(
    jetstream: Jetstream,
) -> None:
    connection = await jetstream.connection()
    settings = StreamSettings(max_age_s=3_600, max_bytes=1_000_000)
    await create_stream(connection, describe(OrderPlaced.DESCRIPTOR), settings)
    config = (await connection.api("STREAM.INFO.ORDERS"))["config"]
    assert config["max_age"] == 3_600 * 1_000_000_000
    assert (config["retention"], config["discard"]) == ("limits", "new")
    assert config["deny_delete"] is config["deny_purge"] is True
