from __future__ import annotations

import random
from collections.abc import Callable, Coroutine, Generator
from typing import Any

import pytest

from mesh.clock import now_us
from mesh.db import Database, UnitOfWork, sql
from mesh.errors import Behind, InvalidArgument
from mesh.events.envelope import describe, seal
from mesh.events.freshness import Seen, find, wait_until_seen
from mesh.events.jetstream import Jetstream
from mesh.events.stream import StreamSettings, create_stream, put
from mesh.ids import new_id
from mesh.rpc.consistency import Told, read_token, write_token
from meshapi.v1 import events_pb2 as pb

from .contract import OrderPlaced
from .service import a_shop
from .shop import noted, place

RUNS = 12_000
ORDERS = "shop.orders.v1.OrderPlaced"
IDS = sql("SELECT event_id, key FROM outbox ORDER BY id")


class Turn:
    """Where whatever else there is may happen."""

    def __await__(self) -> Generator[None, None, None]:
        yield


class World:
    """A publisher, its stream and a reader, none of which waits for another."""

    def __init__(self, dice: random.Random) -> None:
        self.dice = dice
        self.outbox: list[str] = []
        self.stream: list[str] = []
        self.rows: set[str] = set()
        self.cursor = 0
        self.patience = dice.randrange(6)

    def commit(self) -> Told:
        self.outbox.append(f"event-{len(self.outbox)}")
        return Told(ORDERS, "a", self.outbox[-1])

    def happen(self) -> None:
        for _ in range(self.dice.randrange(4)):
            self.dice.choice([self.commit, self.relay, self.apply])()

    def relay(self) -> None:
        self.stream = self.outbox[: len(self.stream) + self.dice.randrange(3)]

    def apply(self) -> None:
        """The rows and the cursor move together."""
        upto = min(len(self.stream), self.cursor + self.dice.randrange(3))
        self.rows |= set(self.stream[self.cursor : upto])
        self.cursor = upto

    async def place_of(self, stream: str, told: Told) -> int | None:
        await Turn()
        # The server may not answer, too.
        if self.dice.random() < 0.1 or told.event_id not in self.stream:
            return None
        found = self.stream.index(told.event_id) + 1
        await Turn()
        return found

    async def seen(self) -> Seen:
        await Turn()
        found = {("orders", "ORDERS"): self.cursor}
        await Turn()
        return found

    async def rest(self) -> bool:
        await Turn()
        self.patience -= 1
        return self.patience >= 0


def play(dice: random.Random, wait: Callable[..., Coroutine[Any, Any, None]]) -> str:
    """Plays one interleaving: what the reader was given, `fresh`, `behind` or `stale`."""
    world = World(dice)
    told = []
    for _ in range(dice.randrange(1, 4)):
        world.happen()
        told.append(world.commit())
    reading = wait([("orders", "ORDERS", each) for each in told], world)
    try:
        while True:
            reading.send(None)
            world.happen()
    except StopIteration:
        world.happen()
        return "fresh" if {each.event_id for each in told} <= world.rows else "stale"
    except Behind:
        return "behind"


def test_in_no_interleaving_is_a_reader_given_old_rows_without_a_word() -> None:
    seen = [play(random.Random(seed), wait_until_seen) for seed in range(RUNS)]

    assert "stale" not in seen
    assert seen.count("fresh") > RUNS / 10
    assert seen.count("behind") > RUNS / 10


def test_rules_that_are_wrong_are_found_out_by_the_same_interleavings() -> None:
    async def never(wanted: Any, sight: World) -> None:
        await sight.seen()

    async def only_the_first(wanted: Any, sight: World) -> None:
        await wait_until_seen(wanted[:1], sight)

    async def as_far_as_the_stream(wanted: Any, sight: World) -> None:
        for _, stream, told in wanted:
            while await sight.place_of(stream, told) is None:
                if not await sight.rest():
                    raise Behind("BEHIND", "Not yet.")

    for wrong in (never, only_the_first, as_far_as_the_stream):
        assert "stale" in [play(random.Random(seed), wrong) for seed in range(500)]


def test_a_token_is_read_as_it_was_written_and_nothing_else_is_one() -> None:
    told = [Told(ORDERS, "a.b ç", new_id()), Told(ORDERS, "b", new_id())]
    assert read_token(write_token(told)) == told
    assert len(read_token(write_token(Told("t", "k", new_id()) for _ in range(40)))) == 16
    stranger = "0190a8b4-7f00-4000-8000-000000000001"
    for text in ("!", "AAAA", "ab", "x" * 5_000, write_token([Told("t", "k", stranger)])):
        with pytest.raises(InvalidArgument, match="no such token"):
            read_token(text)


async def told_by(database: Database) -> list[Told]:
    async def fetch(work: UnitOfWork) -> list[Told]:
        rows = await work.fetch_all(IDS)
        return [Told(ORDERS, row["key"], row["event_id"]) for row in rows]

    return await database.read(fetch)


async def test_a_read_waits_for_what_its_token_names_and_says_when_it_is_not_there(
    database: Database, jetstream: Jetstream
) -> None:
    async with a_shop(database, jetstream) as shop:
        for number in range(1, 21):
            await database.transact(place, "a", number)
            told = await told_by(database)
            await shop.loops.freshness.wait(told[-2:])
            assert len(await noted(database, "projection")) == number
        await shop.operator.PauseSubscription(
            pb.PauseSubscriptionRequest(subscription="shop-orders")
        )
        await database.transact(place, "a", 21)
        with pytest.raises(Behind, match="not here yet"):
            await shop.loops.freshness.wait((await told_by(database))[-1:])
        made_up = Told(ORDERS, "a", new_id())
        with pytest.raises(Behind, match="not here yet"):
            await shop.loops.freshness.wait([made_up])
        await shop.loops.freshness.wait([Told("shop.orders.v1.Other", "a", new_id())])


async def test_while_nats_is_away_a_read_with_a_token_is_behind(database: Database) -> None:
    away = Jetstream("nats://127.0.0.1:1", service="shop")
    await away.start()
    async with a_shop(database, away) as shop:
        await database.transact(place, "a", 1)
        with pytest.raises(Behind):
            await shop.loops.freshness.wait(await told_by(database))
    await away.stop()


async def test_an_event_is_found_among_later_ones_and_one_that_was_dropped_is_passed(
    jetstream: Jetstream,
) -> None:
    connection = await jetstream.connection()
    settings = StreamSettings(max_age_s=3_600)
    await create_stream(connection, describe(OrderPlaced.DESCRIPTOR), settings, first=7)
    events = [seal(OrderPlaced(order_id="a.b", number=n), n, source="shop") for n in range(5)]
    for event in events:
        await put(connection, [event])
    found = [
        await find(connection, "ORDERS", Told(ORDERS, "a.b", event.event_id)) for event in events
    ]
    assert found == [7, 8, 9, 10, 11]
    ancient_ms = now_us() // 1_000 - 2 * 3_600_000
    ancient = f"{ancient_ms:012x}"
    dropped = f"{ancient[:8]}-{ancient[8:]}{new_id()[13:]}"
    assert await find(connection, "ORDERS", Told(ORDERS, "a.b", dropped)) == 6
    assert await find(connection, "ORDERS", Told(ORDERS, "a.b", new_id())) is None
