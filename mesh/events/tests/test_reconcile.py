from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from mesh.db import Database, UnitOfWork, sql
from mesh.events import Reaction
from mesh.events.envelope import describe, seal
from mesh.events.jetstream import Jetstream
from mesh.events.stream import StreamSettings, create_stream, put
from mesh.testing.nats import NatsServer
from mesh.testing.waiting import eventually
from meshapi.v1 import events_pb2 as pb

from .contract import OrderPlaced
from .reading import ids_in
from .service import Shop, a_shop
from .shop import noted, place, react, unsent

GREETING = Reaction(name="greeting", on={OrderPlaced: react})


async def has_all(database: Database, count: int) -> bool:
    """Every listener has applied so many, and nothing waits."""
    found = [len(await noted(database, each)) for each in ("projection", "reaction")]
    return found == [count, count] and await unsent(database) == 0


async def reconcile(
    shop: Shop, *, dry_run: bool = False, accept_loss: bool = False
) -> pb.StreamState:
    request = pb.ReconcileStreamsRequest(dry_run=dry_run, accept_loss=accept_loss)
    answer = await shop.operator.ReconcileStreams(request)
    state: pb.StreamState
    [state] = answer.streams
    return state


async def is_noticed(shop: Shop, words: str) -> bool:
    answer = await shop.operator.ListSubscriptions(pb.ListSubscriptionsRequest())
    return words in answer.outbox.problem


async def forget(work: UnitOfWork) -> None:
    """Has the outbox forget what was sent first."""
    await work.execute(sql("DELETE FROM outbox WHERE id <= 4"))


async def places(jetstream: Jetstream) -> list[tuple[str, str, int]]:
    return await ids_in(await jetstream.connection())


async def test_a_stream_whose_storage_was_rolled_back_is_mended_from_the_outbox(
    database: Database, jetstream: Jetstream, nats_server: NatsServer, tmp_path: Path
) -> None:
    store = nats_server.store
    async with a_shop(database, jetstream, [GREETING]) as shop:
        await database.transact(place, "a", *range(1, 11))
        await eventually(lambda: has_all(database, 10))
        nats_server.stop()
        shutil.copytree(store, tmp_path / "backup")
        nats_server.start()
        for number in range(11, 31):
            await database.transact(place, f"key-{number % 3}", number)
        await eventually(lambda: has_all(database, 30))
        before = await places(jetstream)

        nats_server.kill()
        shutil.rmtree(store)
        shutil.copytree(tmp_path / "backup", store)
        nats_server.start()
        await eventually(lambda: is_noticed(shop, "ends at 10, and has taken 30"))
        await database.transact(place, "later", 31)

        looked = await reconcile(shop, dry_run=True)
        assert (looked.missing, looked.restored, looked.problem) == (20, 0, "")
        mended = await reconcile(shop)
        assert (mended.found_sequence, mended.restored, mended.problem) == (10, 20, "")
        await eventually(lambda: has_all(database, 31))
        after = await places(jetstream)
        assert after[:30] == before
        assert after[30][1:] == ("later", 31)
        assert (await reconcile(shop)).missing == 0
    for listener in ("projection", "reaction"):
        assert len(set(await noted(database, listener))) == 31


async def test_a_stream_that_is_gone_is_made_anew_with_all_that_the_outbox_has(
    database: Database, jetstream: Jetstream
) -> None:
    async with a_shop(database, jetstream, [GREETING]) as shop:
        for number in range(1, 121):
            await database.transact(place, f"key-{number % 3}", number)
        await eventually(lambda: has_all(database, 120))
        before = await places(jetstream)
        connection: Any = await jetstream.connection()
        await connection.api("STREAM.DELETE.ORDERS")
        mended = await reconcile(shop)
        assert (mended.found_sequence, mended.missing, mended.restored) == (0, 120, 120)
        assert await places(jetstream) == before
        await database.transact(place, "later", 121)
        await eventually(lambda: has_all(database, 121))


async def test_events_that_the_outbox_has_forgotten_keep_their_places_when_a_stream_is_made_anew(
    database: Database, jetstream: Jetstream
) -> None:
    async with a_shop(database, jetstream, [GREETING]) as shop:
        await database.transact(place, "a", *range(1, 11))
        await eventually(lambda: has_all(database, 10))
        await database.transact(forget)
        connection: Any = await jetstream.connection()
        await connection.api("STREAM.DELETE.ORDERS")
        assert (await reconcile(shop)).restored == 6
        state = (await connection.api("STREAM.INFO.ORDERS"))["state"]
        assert (state["first_seq"], state["last_seq"]) == (5, 10)
        await database.transact(place, "a", 11)
        await eventually(lambda: has_all(database, 11))


async def test_an_empty_stream_whose_places_are_wrong_is_removed_by_an_operator_first(
    database: Database, jetstream: Jetstream
) -> None:
    async with a_shop(database, jetstream, [GREETING]) as shop:
        await database.transact(place, "a", *range(1, 11))
        await eventually(lambda: has_all(database, 10))
        await database.transact(forget)
        before = (await places(jetstream))[4:]
        connection: Any = await jetstream.connection()
        config = (await connection.api("STREAM.INFO.ORDERS"))["config"]
        await connection.api("STREAM.DELETE.ORDERS")
        await connection.api("STREAM.CREATE.ORDERS", config)

        state = await reconcile(shop)
        assert (state.must_be_removed, state.missing, state.restored) == (True, 6, 0)
        await connection.api("STREAM.DELETE.ORDERS")
        state = await reconcile(shop)
        assert (state.must_be_removed, state.restored) == (False, 6)
        assert await places(jetstream) == before


async def test_what_sending_cannot_mend_is_told_and_left_alone_until_a_person_accepts_it(
    database: Database, jetstream: Jetstream, tmp_path: Path
) -> None:
    url = f"sqlite:///{tmp_path}/shop.db"
    async with a_shop(database, jetstream, [GREETING], url=url) as shop:
        await database.transact(place, "a", *range(1, 6))
        await eventually(lambda: has_all(database, 5))
        connection: Any = await jetstream.connection()
        await connection.api("STREAM.DELETE.ORDERS")
        await create_stream(connection, describe(OrderPlaced.DESCRIPTOR), StreamSettings())
        await put(connection, [seal(OrderPlaced(order_id="x", number=1), source="nobody")])
        state = await reconcile(shop)
        assert state.restored == 0
        assert "1 events that this service has not sent" in state.problem

        await reconcile(shop, accept_loss=True)
        await database.transact(place, "later", 6)

        async def is_sent() -> bool:
            return await unsent(database) == 0

        await eventually(is_sent)
        request = pb.RebuildProjectionRequest(subscription="shop-orders")
        told = [each async for each in shop.operator.RebuildProjection(request)]
        assert told[-1].phase == pb.REBUILD_PHASE_DONE
        assert await noted(database, "projection") == [("x", 1), ("later", 6)]
