from __future__ import annotations

import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from mesh.clock import now_us
from mesh.db import Database, UnitOfWork, open_database, sql
from mesh.errors import FailedPrecondition, NotFound, PermissionDenied
from mesh.events import Event, Reaction
from mesh.events.envelope import seal
from mesh.events.jetstream import Jetstream
from mesh.testing.waiting import eventually
from meshapi.v1 import events_pb2 as pb

from .contract import OrderPlaced
from .service import a_shop
from .shop import noted, place, react

HISTORY = sql("SELECT action, actor, note, payload FROM dead_letter_history ORDER BY id")


def greeting(handle: Any = react, **options: Any) -> Reaction:
    return Reaction(name="greeting", on={OrderPlaced: handle}, **options)


class Choke:
    """Fails at some events until it is mended."""

    def __init__(self, *bad: tuple[str, int]) -> None:
        self.bad = set(bad)

    async def __call__(self, work: UnitOfWork, event: Event[Any]) -> None:
        if (event.key, event.data.number) in self.bad:
            raise FailedPrecondition("BROKEN", "It is broken.")
        await react(work, event)


async def history(database: Database) -> list[tuple[Any, ...]]:
    async def fetch(work: UnitOfWork) -> list[tuple[Any, ...]]:
        names = ("action", "actor", "note", "payload")
        return [tuple(row[each] for each in names) for row in await work.fetch_all(HISTORY)]

    return await database.read(fetch)


async def has_parked(shop: Any, count: int) -> bool:
    return len(await shop.letters()) == count


async def has_reacted(database: Database, count: int) -> bool:
    return len(await noted(database, "reaction")) >= count


async def test_only_the_operator_may_ask(database: Database, jetstream: Jetstream) -> None:
    async with a_shop(database, jetstream) as shop:
        with pytest.raises(PermissionDenied, match="workload"):
            await shop.customer.ListSubscriptions(pb.ListSubscriptionsRequest())


async def test_a_poison_key_is_parked_and_redriven_in_order_while_the_others_flow(
    database: Database, jetstream: Jetstream
) -> None:
    choke = Choke(("bad", 2))
    async with a_shop(database, jetstream, [greeting(choke)]) as shop:
        await database.transact(place, "bad", 1, 2, 3)
        await database.transact(place, "good", 1, 2, 3)
        await eventually(lambda: has_parked(shop, 2))
        await eventually(lambda: has_reacted(database, 4))
        poison, behind = await shop.letters()
        assert (poison.key, poison.attempts, poison.error) == ("bad", 10, "BROKEN: It is broken.")
        assert behind.error == "behind an earlier event of its key"
        assert poison.type == "shop.orders.v1.OrderPlaced"

        told = await shop.redrive()
        assert [each.error for each in told] == ["BROKEN: It is broken.", ""]
        assert (told[-1].applied, told[-1].failed, told[-1].remaining) == (0, 1, 2)

        choke.bad.clear()
        told = await shop.redrive("bad")
        assert (told[-1].applied, told[-1].failed, told[-1].remaining) == (2, 0, 0)
        await database.transact(place, "bad", 4)
        await eventually(lambda: has_reacted(database, 7))
    applied = await noted(database, "reaction")
    assert [number for key, number in applied if key == "bad"] == [1, 2, 3, 4]
    assert [row[:2] for row in await history(database)] == [("redriven", "ana")] * 2


async def test_a_dead_letter_is_mended_by_hand_and_what_it_said_is_kept(
    database: Database, jetstream: Jetstream
) -> None:
    async with a_shop(database, jetstream, [greeting(Choke(("bad", 2)))]) as shop:
        await database.transact(place, "bad", 2)
        await eventually(lambda: has_parked(shop, 1))
        [found] = await shop.letters()
        [letter] = await shop.letters(found.event_id)
        before = letter.payload
        assert OrderPlaced.FromString(before).number == 2
        assert letter.headers["ce-type"] == "shop.orders.v1.OrderPlaced"

        edit = pb.EditDeadLetterRequest(
            subscription="shop-greeting", event_id=found.event_id, actor="ana", note="typing error"
        )
        edit.payload = OrderPlaced(order_id="other", number=5).SerializeToString()
        with pytest.raises(FailedPrecondition, match="order_id must stay"):
            await shop.operator.EditDeadLetter(edit)
        edit.payload = b"\xff\xff"
        with pytest.raises(FailedPrecondition, match="This is no"):
            await shop.operator.EditDeadLetter(edit)
        edit.payload = OrderPlaced(order_id="bad", number=5).SerializeToString()
        await shop.operator.EditDeadLetter(edit)

        [letter] = await shop.letters(found.event_id)
        assert [(each.action, each.note) for each in letter.history] == [("edited", "typing error")]
        await shop.redrive()
    assert await noted(database, "reaction") == [("bad", 5)]
    edited, redriven = await history(database)
    assert edited == ("edited", "ana", "typing error", before)
    assert redriven[0] == "redriven"


async def test_a_dropped_dead_letter_is_kept_in_the_history_and_never_applied(
    database: Database, jetstream: Jetstream
) -> None:
    choke = Choke(("bad", 1))
    async with a_shop(database, jetstream, [greeting(choke)]) as shop:
        await database.transact(place, "bad", 1, 2)
        await eventually(lambda: has_parked(shop, 2))
        [first, _] = await shop.letters()
        drop = pb.DropDeadLetterRequest(
            subscription="shop-greeting", event_id=first.event_id, actor="ana", note="a test order"
        )
        await shop.operator.DropDeadLetter(drop)
        with pytest.raises(NotFound):
            await shop.operator.DropDeadLetter(drop)
        choke.bad.clear()
        await shop.redrive()
    assert await noted(database, "reaction") == [("bad", 2)]
    assert [row[:3] for row in await history(database)] == [
        ("dropped", "ana", "a test order"),
        ("redriven", "ana", ""),
    ]


async def test_a_paused_reaction_takes_nothing_until_it_is_resumed_and_delays_no_other(
    database: Database, jetstream: Jetstream
) -> None:
    other: list[int] = []

    async def listen(work: UnitOfWork, event: Event[Any]) -> None:
        other.append(event.data.number)

    second = Reaction(name="second", on={OrderPlaced: listen})
    async with a_shop(database, jetstream, [greeting(), second]) as shop:
        pause = pb.PauseSubscriptionRequest(subscription="shop-greeting", actor="ana")
        await shop.operator.PauseSubscription(pause)
        assert (await shop.subscriptions())["shop-greeting"].concurrency == 0
        await database.transact(place, "a", 1, 2, 3)
        await eventually(lambda: _has(other, 3))

        async def waits() -> bool:
            return (await shop.subscriptions())["shop-greeting"].lag == 3

        await eventually(waits)
        assert await noted(database, "reaction") == []

        resume = pb.ResumeSubscriptionRequest(subscription="shop-greeting", concurrency=2)
        assert (await shop.operator.ResumeSubscription(resume)).concurrency == 2
        await eventually(lambda: has_reacted(database, 3))
        again = pb.ResumeSubscriptionRequest(subscription="shop-greeting")
        assert (await shop.operator.ResumeSubscription(again)).concurrency == 4
        with pytest.raises(NotFound, match="shop-greeting"):
            await shop.operator.PauseSubscription(pb.PauseSubscriptionRequest(subscription="x"))


async def test_a_pause_outlives_the_process(database: Database, jetstream: Jetstream) -> None:
    pause = pb.PauseSubscriptionRequest(subscription="shop-orders", actor="ana")
    async with a_shop(database, jetstream) as shop:
        await shop.operator.PauseSubscription(pause)
    async with a_shop(database, jetstream) as shop:
        await database.transact(place, "a", 1)

        async def lags() -> bool:
            found = (await shop.subscriptions())["shop-orders"]
            return found.concurrency == 0 and found.lag == 1

        await eventually(lags)
        assert await noted(database, "projection") == []
        resume = pb.ResumeSubscriptionRequest(subscription="shop-orders")
        await shop.operator.ResumeSubscription(resume)

        async def is_applied() -> bool:
            return await noted(database, "projection") == [("a", 1)]

        await eventually(is_applied)


async def test_the_outbox_is_told_with_its_age_and_what_is_for_later(
    database: Database, jetstream: Jetstream
) -> None:
    async def later(work: UnitOfWork) -> None:
        work.publish(OrderPlaced(order_id="a", number=1), at_us=4_000_000_000_000_000)

    async with a_shop(database, jetstream) as shop:
        await database.transact(place, "a", 1)
        await database.transact(later)

        async def is_sent() -> bool:
            answer = await shop.operator.ListSubscriptions(pb.ListSubscriptionsRequest())
            outbox = answer.outbox
            return (outbox.unsent, outbox.kept, outbox.scheduled) == (0, 1, 1) and answer.leads

        await eventually(is_sent)


async def test_a_reaction_with_a_filter_hears_only_what_it_wants(
    database: Database, jetstream: Jetstream
) -> None:
    wanted = greeting(where={"number": [{"numeric": [">", 1]}], "order_id": ["a"]})
    async with a_shop(database, jetstream, [wanted]) as shop:
        await database.transact(place, "a", 1, 2, 3)
        await database.transact(place, "b", 2)
        await eventually(lambda: has_reacted(database, 2))

        async def is_through() -> bool:
            return (await shop.subscriptions())["shop-greeting"].lag == 0

        await eventually(is_through)
    assert await noted(database, "reaction") == [("a", 2), ("a", 3)]


async def test_a_malformed_filter_is_refused_at_the_start(
    database: Database, jetstream: Jetstream
) -> None:
    with pytest.raises(ValueError, match=r"filter at nmber: .*no such field"):
        async with a_shop(database, jetstream, [greeting(where={"nmber": [1]})]):
            pass


async def test_options_that_make_no_sense_are_refused() -> None:
    for options in ({"concurrency": -1}, {"batch": 0}, {"window_s": 301}, {"timeout_s": -1}):
        with pytest.raises(ValueError, match="reaction greeting"):
            greeting(**options)


async def test_a_handler_that_takes_too_long_keeps_nothing_and_is_parked(
    database: Database, jetstream: Jetstream
) -> None:
    async def dawdle(work: UnitOfWork, event: Event[Any]) -> None:
        await react(work, event)
        if event.key == "slow":
            time.sleep(0.02)  # noqa: ASYNC251 - on the thread of the database

    async with a_shop(database, jetstream, [greeting(dawdle, timeout_s=0.01)]) as shop:
        await database.transact(place, "slow", 1)
        await database.transact(place, "fast", 1)
        await eventually(lambda: has_parked(shop, 1))
        [letter] = await shop.letters()
        assert letter.error == "HandlerTimeout"
    assert await noted(database, "reaction") == [("fast", 1)]


async def test_a_window_gathers_events_into_one_batch(
    database: Database, jetstream: Jetstream
) -> None:
    batches: set[int] = set()

    async def gather(work: UnitOfWork, event: Event[Any]) -> None:
        batches.add(id(work))
        await react(work, event)

    async with a_shop(database, jetstream, [greeting(gather, batch=20, window_s=30.0)]):
        for number in range(1, 21):
            await database.transact(place, f"key-{number}", number)
        await eventually(lambda: has_reacted(database, 20))
    assert len(batches) == 1


async def test_a_scheduled_event_is_told_when_it_is_due_and_not_before(
    tmp_path: Path, database: Database, jetstream: Jetstream
) -> None:
    async def schedule(work: UnitOfWork, number: int, at_us: int) -> None:
        work.publish(OrderPlaced(order_id="a", number=number), at_us=at_us)

    due_us = now_us() + 300_000
    await database.transact(schedule, 2, due_us)
    await database.transact(schedule, 3, due_us + 3_600_000_000)
    await database.transact(schedule, 1, now_us() - 1)

    heard: list[tuple[int, int, str]] = []

    async def hear(work: UnitOfWork, event: Event[Any]) -> None:
        heard.append((event.data.number, event.time_us, event.id))
        await react(work, event)

    # Whoever scheduled it is gone; another process of the service finds it.
    url = f"sqlite:///{tmp_path}/shop.db"
    other = await open_database(url, seal=partial(seal, source="shop"))
    async with a_shop(other, jetstream, [greeting(hear)]) as shop:
        await eventually(lambda: has_reacted(database, 2))
        assert await noted(database, "reaction") == [("a", 1), ("a", 2)]
        assert heard[1][1] >= due_us
        answer = await shop.operator.ListSubscriptions(pb.ListSubscriptionsRequest())
        assert answer.outbox.scheduled == 1
    await other.close()


async def _has(found: list[int], count: int) -> bool:
    return len(found) >= count
