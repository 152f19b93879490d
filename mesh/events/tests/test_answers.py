from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from mesh.db import Database, UnitOfWork, sql
from mesh.errors import Transient
from mesh.events import Again, Dead, Event, Failure, Reaction
from mesh.events.answers import BadAnswer, check
from mesh.events.filters import MalformedFilter, compile_filter
from mesh.events.jetstream import Jetstream
from mesh.testing.waiting import eventually

from .contract import OrderPaid, OrderPlaced
from .service import a_shop
from .shop import noted, place, react

EXPIRED = sql("SELECT action, event_id, error FROM dead_letter_history")


class Judge:
    """Notes what it is given, and answers as it is told; each answer is given once."""

    def __init__(self, **answers: Again | Dead) -> None:
        self.answers = answers
        self.batches: list[list[str]] = []

    async def __call__(
        self, work: UnitOfWork, events: Sequence[Event[Any]]
    ) -> dict[str, Again | Dead]:
        names = {event.id: f"{event.key}{event.data.number}" for event in events}
        self.batches.append(list(names.values()))
        found = {
            event_id: self.answers.pop(name)
            for event_id, name in names.items()
            if name in self.answers
        }
        for event in events:
            if event.id not in found:
                await react(work, event)
        return found


def together(judge: Any, **options: Any) -> Reaction:
    return Reaction(name="greeting", types=[OrderPlaced], on_batch=judge, **options)


def an_event(name: str) -> Event[Any]:
    return Event(
        id=name,
        type="shop.orders.v1.OrderPlaced",
        source="shop",
        subject="",
        key=name[0],
        version=0,
        time_us=0,
        traceparent="",
        data=OrderPlaced(),
        stream="ORDERS",
        sequence=1,
        attributes={"tier": "gold", "weight": "12"},
    )


@pytest.mark.parametrize(
    ("answers", "is_good"),
    [
        ({}, True),
        ({"a2": Again(1), "b1": Dead("X", "x")}, True),
        ({"a1": Again(1), "a2": Again(1)}, True),
        ({"a1": Dead("X", "x"), "a2": Again(1)}, True),
        ({"a1": Again(1)}, False),
        ({"a1": Again(1), "a2": Dead("X", "x")}, False),
        ({"c1": Again(1)}, False),
    ],
)
def test_an_answer_is_for_its_events_and_keeps_the_order_of_each_key(
    answers: dict[str, Again | Dead], is_good: bool
) -> None:
    events = [an_event(name) for name in ("a1", "b1", "a2")]
    if is_good:
        check(answers, events)
    else:
        with pytest.raises(BadAnswer):
            check(answers, events)


@pytest.mark.faults
async def test_of_a_batch_only_what_was_answered_for_comes_again_or_is_parked(
    database: Database, jetstream: Jetstream
) -> None:
    judge = Judge(a1=Again(0.01), a2=Again(0.01), b1=Dead("TORN", "It is torn."))
    await database.transact(place, "a", 1, 2)
    await database.transact(place, "b", 1)
    await database.transact(place, "c", 1)
    async with a_shop(database, jetstream, [together(judge, batch=4, window_s=5.0)]) as shop:

        async def is_done() -> bool:
            return len(await noted(database, "reaction")) == 3 and len(await shop.letters()) == 1

        await eventually(is_done)
        [letter] = await shop.letters()
        assert (letter.key, letter.error, letter.attempts) == ("b", "TORN: It is torn.", 1)
        told = await shop.redrive()
        assert told[-1].remaining == 0
    assert sorted(judge.batches[0]) == ["a1", "a2", "b1", "c1"]
    assert await noted(database, "reaction") == [("c", 1), ("a", 1), ("a", 2), ("b", 1)]


async def test_an_answer_out_of_order_fails_the_batch_and_each_is_tried_alone(
    database: Database, jetstream: Jetstream
) -> None:
    judge = Judge(a1=Again(0.01))
    await database.transact(place, "a", 1, 2)
    async with a_shop(database, jetstream, [together(judge, batch=2, window_s=5.0)]):

        async def is_done() -> bool:
            return await noted(database, "reaction") == [("a", 1), ("a", 2)]

        await eventually(is_done)
    assert judge.batches == [["a1", "a2"], ["a1"], ["a2"]]


async def test_what_is_given_up_is_told_to_a_destination_that_others_listen_to(
    database: Database, jetstream: Jetstream
) -> None:
    async def fail(work: UnitOfWork, event: Event[Any]) -> None:
        raise Dead("NO_SUCH_CUSTOMER", "There is no such customer.")

    async def tell(work: UnitOfWork, failure: Failure) -> None:
        assert failure.event is not None
        assert (failure.error, failure.attempts) in (
            ("NO_SUCH_CUSTOMER: There is no such customer.", 1),
            ("behind an earlier event of its key", 0),
        )
        work.publish(OrderPaid(order_id=failure.key, number=-failure.event.data.number))

    mend = Reaction(name="mending", on={OrderPaid: react})
    greeting = Reaction(name="greeting", on={OrderPlaced: fail}, on_failure=tell)
    async with a_shop(database, jetstream, [greeting, mend]) as shop:
        await database.transact(place, "a", 1, 2)

        async def is_told() -> bool:
            return await noted(database, "reaction") == [("a", -1), ("a", -2)]

        await eventually(is_told)
        assert len(await shop.letters()) == 2


async def test_a_destination_that_fails_keeps_nothing_from_being_parked(
    database: Database, jetstream: Jetstream
) -> None:
    async def fail(work: UnitOfWork, event: Event[Any]) -> None:
        raise Dead("NO", "No.")

    async def tell(work: UnitOfWork, failure: Failure) -> None:
        raise LookupError

    greeting = Reaction(name="greeting", on={OrderPlaced: fail}, on_failure=tell)
    async with a_shop(database, jetstream, [greeting]) as shop:
        await database.transact(place, "a", 1)

        async def is_parked() -> bool:
            return len(await shop.letters()) == 1

        await eventually(is_parked)


async def test_an_event_that_is_too_old_is_given_up_and_holds_nothing_up(
    database: Database, jetstream: Jetstream
) -> None:
    failures: list[str] = []

    async def wait_for_it(work: UnitOfWork, event: Event[Any]) -> None:
        if event.data.number == 1:
            raise Transient("NOT_YET", "Not yet.")
        await react(work, event)

    async def tell(work: UnitOfWork, failure: Failure) -> None:
        failures.append(failure.error)

    greeting = Reaction(
        name="greeting", on={OrderPlaced: wait_for_it}, max_age_s=0.3, on_failure=tell
    )
    async with a_shop(database, jetstream, [greeting]) as shop:
        await database.transact(place, "a", 1)
        await eventually(lambda: len(failures) == 1)
        await database.transact(place, "a", 2)

        async def is_done() -> bool:
            return await noted(database, "reaction") == [("a", 2)]

        await eventually(is_done)
        assert await shop.letters() == []
    assert failures == ["older than its reaction allows"]

    async def history(work: UnitOfWork) -> list[str]:
        return [row["action"] for row in await work.fetch_all(EXPIRED)]

    assert await database.read(history) == ["expired"]


async def test_while_an_event_is_worked_on_it_is_not_sent_again(
    database: Database, jetstream: Jetstream
) -> None:
    """It waits here for four ack waits; the server is told so, and sends it once."""
    judge = Judge(a1=Again(1.2))
    async with a_shop(database, jetstream, [together(judge, ack_wait_s=0.3)]) as shop:
        await database.transact(place, "a", 1)

        async def is_done() -> bool:
            return await noted(database, "reaction") == [("a", 1)]

        await eventually(is_done)
        assert (await shop.subscriptions())["shop-greeting"].redelivered == 0


async def test_a_reaction_may_choose_by_attributes(
    database: Database, jetstream: Jetstream
) -> None:
    async def tell(work: UnitOfWork) -> None:
        for number, tier in enumerate(("gold", "tin", "olá 100%")):
            event = OrderPlaced(order_id="a", number=number)
            work.publish(event, attributes={"tier": tier, "weight": str(10 * number)})
        work.publish(OrderPlaced(order_id="b", number=9))

    found: list[dict[str, str]] = []

    async def hear(work: UnitOfWork, event: Event[Any]) -> None:
        found.append(dict(event.attributes))
        await react(work, event)

    where = {"ce-tier": [{"anything-but": ["tin"]}], "ce-weight": [{"numeric": ["<", 30]}]}
    wanted = Reaction(name="greeting", on={OrderPlaced: hear}, where=where)
    async with a_shop(database, jetstream, [wanted]):
        await database.transact(tell)

        async def is_done() -> bool:
            return await noted(database, "reaction") == [("a", 0), ("a", 2)]

        await eventually(is_done)
    assert found == [{"tier": "gold", "weight": "0"}, {"tier": "olá 100%", "weight": "20"}]


@pytest.mark.parametrize(
    ("policy", "fitting"),
    [
        ({"ce-tier": ["gold"]}, True),
        ({"ce-tier": [{"prefix": "sil"}]}, False),
        ({"ce-weight": [{"numeric": [">=", 12]}]}, True),
        ({"ce-tier": [{"numeric": [">", 0]}]}, False),
        ({"ce-weight": ["12"]}, True),
        ({"ce-other": [{"exists": False}]}, True),
    ],
)
def test_an_attribute_fits_as_with_sns(policy: dict[str, Any], fitting: bool) -> None:
    assert compile_filter(policy, OrderPlaced.DESCRIPTOR)(an_event("a1")) is fitting


@pytest.mark.parametrize("name", ["ce-Tier", "ce-", "ce-id", "ce-sequence", "ce-" + "a" * 21])
def test_an_attribute_that_cannot_be_is_refused(name: str) -> None:
    with pytest.raises(MalformedFilter, match="no attribute"):
        compile_filter({name: ["x"]}, OrderPlaced.DESCRIPTOR)


@pytest.mark.parametrize(
    "attributes",
    [
        {"Tier": "x"},
        {"id": "x"},
        {"tier": ""},
        {"tier": "x" * 257},
        {f"a{n}": "x" for n in range(11)},
    ],
)
async def test_an_event_takes_no_attribute_that_cannot_be(
    database: Database, attributes: dict[str, str]
) -> None:
    async def tell(work: UnitOfWork) -> None:
        work.publish(OrderPlaced(order_id="a"), attributes=attributes)

    with pytest.raises(ValueError, match="attribute"):
        await database.transact(tell)


def test_a_reaction_has_handlers_or_one_for_all() -> None:
    judge = Judge()
    for options in (
        {"on_batch": judge},
        {"types": [OrderPlaced]},
        {"on": {OrderPlaced: react}, "types": [OrderPlaced], "on_batch": judge},
        {"on": {OrderPlaced: react}, "ack_wait_s": 0},
        {"on": {OrderPlaced: react}, "max_age_s": -1},
    ):
        with pytest.raises(ValueError, match="reaction greeting"):
            Reaction(name="greeting", **options)
