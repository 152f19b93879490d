from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.clock import now_us
from mesh.db import Database
from mesh.errors import FailedPrecondition, InvalidArgument, NotFound
from mesh.events import Event
from mesh.events.webhooks import Schedule, Webhook, Webhooks, store
from mesh.events.webhooks.signing import SIGNATURE_HEADER, is_signed, new_secret, sign
from mesh.ids import new_id
from mesh.testing.waiting import eventually

from .contract import OrderPlaced
from .receiver import Receiver, receiving

QUICK = Schedule(immediate=1, before=1, backoff=1, after=0, min_s=0.01, max_s=0.02)


def an_event(number: int = 1) -> Event[Any]:
    return Event(
        id=new_id(),
        type="shop.orders.v1.OrderPlaced",
        source="shop",
        subject="",
        key="a",
        version=number,
        time_us=now_us(),
        traceparent="",
        data=OrderPlaced(order_id="a", number=number),
        stream="ORDERS",
        sequence=number,
    )


def a_webhook(receiver: Receiver, **options: Any) -> Webhook:
    known = {"owner": "shop-1", "created_by": "ana", "request_id": new_id(), "url": receiver.url}
    return Webhook(**(known | {"max_per_second": 100} | options))


@asynccontextmanager
async def posting(database: Database, **options: Any) -> AsyncIterator[Webhooks]:
    webhooks = Webhooks(database, is_open=True, **({"schedule": QUICK} | options))
    task = asyncio.create_task(webhooks.run())
    try:
        yield webhooks
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def confirmed(database: Database, webhooks: Webhooks, webhook: Webhook) -> Webhook:
    await database.transact(webhooks.add, webhook, most=10)

    async def is_confirmed() -> bool:
        return (await database.read(store.get, webhook.id)).status == "confirmed"

    await eventually(is_confirmed)
    return webhook


async def standing(database: Database, webhook: Webhook) -> list[tuple[str, str, int]]:
    found = await database.read(store.deliveries, webhook.id, "", "", 100)
    return [(each.type, each.status, each.attempts) for each in reversed(found)]


async def test_nothing_is_posted_before_the_token_has_come_back(database: Database) -> None:
    async with receiving() as receiver, posting(database) as webhooks:
        receiver.answer = lambda _: (200, b"thanks")
        webhook = a_webhook(receiver)
        await database.transact(webhooks.add, webhook, most=10)
        await eventually(lambda: len(receiver.posted) == 1)
        await database.transact(webhooks.offer, an_event(), "shop-1", "orders.OrderPlaced")
        asked = receiver.posted[0]
        assert asked.json == {
            "type": "webhook.confirmation",
            "webhookId": webhook.id,
            "token": webhook.token,
        }
        with pytest.raises(InvalidArgument, match="not the token"):
            await database.transact(store.confirm, webhook.id, "made up")
        await database.transact(store.confirm, webhook.id, asked.json["token"])
        await database.transact(webhooks.offer, an_event(2), "shop-1", "orders.OrderPlaced")
        await eventually(lambda: len(receiver.events) == 1)
        assert receiver.events[0].json["data"] == {"orderId": "a", "number": "2"}


async def test_a_message_is_enveloped_or_raw_and_signed_and_wanted(database: Database) -> None:
    async with receiving() as receiver, posting(database) as webhooks:
        enveloped = await confirmed(database, webhooks, a_webhook(receiver))
        raw = await confirmed(database, webhooks, a_webhook(receiver, format="raw"))
        await confirmed(database, webhooks, a_webhook(receiver, types=("orders.OrderPaid",)))
        await confirmed(database, webhooks, a_webhook(receiver, owner="shop-2"))
        event = an_event()
        for _ in range(2):
            await database.transact(webhooks.offer, event, "shop-1", "orders.OrderPlaced")
        await eventually(lambda: len(receiver.events) == 2)
        by_kind = {each.headers["content-type"]: each for each in receiver.events}
        whole = by_kind["application/cloudevents+json"]
        assert whole.path == "/hook?company=1"
        assert whole.json == {
            "specversion": "1.0",
            "id": event.id,
            "type": "orders.OrderPlaced",
            "source": "shop",
            "subject": "a",
            "time": whole.json["time"],
            "sequence": "1",
            "datacontenttype": "application/json",
            "data": {"orderId": "a", "number": "1"},
        }
        bare = by_kind["application/json"]
        assert bare.json == {"orderId": "a", "number": "1"}
        assert (bare.headers["ce-id"], bare.headers["ce-type"]) == (event.id, "orders.OrderPlaced")
        now_s = now_us() // 1_000_000
        for message, webhook in ((whole, enveloped), (bare, raw)):
            header = message.headers[SIGNATURE_HEADER.lower()]
            assert is_signed(message.body, header, webhook.secret, now_s)
            assert not is_signed(message.body + b" ", header, webhook.secret, now_s)


async def test_while_a_secret_is_exchanged_both_are_good(database: Database) -> None:
    async with receiving() as receiver, posting(database) as webhooks:
        webhook = await confirmed(database, webhooks, a_webhook(receiver))
        rotated = await database.transact(store.rotate, webhook.id)
        await database.transact(webhooks.offer, an_event(), "shop-1", "x")
        await eventually(lambda: len(receiver.events) == 1)
        [message] = receiver.events
        header, now_s = message.headers[SIGNATURE_HEADER.lower()], now_us() // 1_000_000
        for secret in (webhook.secret, rotated.secret):
            assert is_signed(message.body, header, secret, now_s)
        assert rotated.keys(rotated.former_until_us) == [rotated.secret]


async def test_a_message_is_tried_to_the_end_of_its_schedule_and_again_when_asked(
    database: Database,
) -> None:
    async with receiving() as receiver, posting(database) as webhooks:
        webhook = await confirmed(database, webhooks, a_webhook(receiver))
        receiver.answer = lambda _: (503, b"")
        await database.transact(webhooks.offer, an_event(), "shop-1", "x")

        async def is_dead() -> bool:
            return (await standing(database, webhook))[-1] == ("x", "dead", 4)

        await eventually(is_dead)
        [dead] = await database.read(store.deliveries, webhook.id, "dead", "", 10)
        assert (dead.response_status, dead.error) == (503, "HTTP_503")
        assert len({each.headers["webhook-id"] for each in receiver.events}) == 1
        receiver.answer = lambda _: (204, b"")
        await database.transact(webhooks.deliver_again, webhook.id, dead.id)

        async def is_delivered() -> bool:
            return (await standing(database, webhook))[-1] == ("x", "delivered", 5)

        await eventually(is_delivered)
        with pytest.raises(NotFound):
            await database.transact(webhooks.deliver_again, new_id(), dead.id)


@pytest.mark.parametrize("status", [301, 302, 307, 400, 404, 410])
async def test_a_refusal_is_final_and_a_redirect_is_not_followed(
    database: Database, status: int
) -> None:
    async with receiving() as receiver, posting(database) as webhooks:
        webhook = await confirmed(database, webhooks, a_webhook(receiver))
        receiver.answer = lambda _: (status, b"")
        await database.transact(webhooks.offer, an_event(), "shop-1", "x")

        async def is_dead() -> bool:
            return (await standing(database, webhook))[-1] == ("x", "dead", 1)

        await eventually(is_dead)
        assert [each.path for each in receiver.events] == ["/hook?company=1"]


async def test_a_webhook_that_answers_nothing_holds_up_nothing_but_itself(
    database: Database,
) -> None:
    async with receiving() as slow, receiving() as quick, posting(database, try_s=0.3) as webhooks:
        first = await confirmed(database, webhooks, a_webhook(slow))
        await confirmed(database, webhooks, a_webhook(quick))
        slow.answer = lambda _: None
        for number in range(6):
            await database.transact(webhooks.offer, an_event(number), "shop-1", "x")
        await eventually(lambda: len(quick.events) == 6)

        async def has_failed() -> bool:
            found = await database.read(store.deliveries, first.id, "", "", 10)
            return any(each.error == "NO_ANSWER_IN_TIME" for each in found)

        await eventually(has_failed)
        await database.transact(store.delete, first.id)
        assert await database.read(store.deliveries, first.id, "", "", 10) == []


async def test_no_more_is_posted_in_a_second_than_was_asked_for(database: Database) -> None:
    at: list[float] = []
    async with receiving() as receiver, posting(database) as webhooks:
        await confirmed(database, webhooks, a_webhook(receiver, max_per_second=20))

        def note(posted: Any) -> tuple[int, bytes]:
            at.append(asyncio.get_running_loop().time())
            return 200, b""

        receiver.answer = note
        for number in range(8):
            await database.transact(webhooks.offer, an_event(number), "shop-1", "x")
        await eventually(lambda: len(at) == 8)
    assert at[-1] - at[0] >= 0.9 * 7 / 20 - 0.05


@pytest.mark.faults
async def test_a_kill_in_the_middle_of_a_post_loses_nothing(
    tmp_path: Path, database: Database
) -> None:
    url = f"sqlite:///{tmp_path}/shop.db"
    async with receiving() as receiver:
        webhooks = Webhooks(database, is_open=True)
        webhook = a_webhook(receiver)
        await database.transact(webhooks.add, webhook, most=10)
        await database.transact(store.confirm, webhook.id, webhook.token)
        for number in range(5):
            await database.transact(webhooks.offer, an_event(number), "shop-1", "x")
        receiver.answer = lambda _: None
        async with victim(url) as process:
            await eventually(lambda: len(receiver.posted) >= 2)
            process.kill()
        receiver.answer = lambda _: (200, b"")
        asked = len(receiver.posted)
        async with victim(url):

            async def is_all_there() -> bool:
                found = await standing(database, webhook)
                return [each[1] for each in found] == ["delivered"] * 6

            await eventually(is_all_there)
    assert len({each.headers["webhook-id"] for each in receiver.posted[asked:]}) == 6


@asynccontextmanager
async def victim(url: str) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "mesh.events.tests.poster", url
    )
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def test_asking_twice_is_asking_once_and_there_is_a_limit(database: Database) -> None:
    async with receiving() as receiver:
        webhooks = Webhooks(database, is_open=True)
        webhook = a_webhook(receiver)
        assert await database.transact(webhooks.add, webhook, most=1) == (webhook, True)
        again = a_webhook(receiver, request_id=webhook.request_id)
        assert await database.transact(webhooks.add, again, most=1) == (webhook, False)
        with pytest.raises(FailedPrecondition, match="may be 1"):
            await database.transact(webhooks.add, a_webhook(receiver), most=1)


def test_the_schedule_has_the_phases_of_sns_and_ends_within_an_hour() -> None:
    schedule = Schedule()
    pauses: list[float] = []
    while (pause := schedule.pause_s(len(pauses) + 1)) is not None:
        pauses.append(pause)
    assert pauses[:3] == [0, 0, 0]
    assert all(0.8 <= pause <= 1 for pause in pauses[3:6])
    assert all(16 <= pause <= 20 for pause in pauses[14:])
    assert 2_800 < sum(pauses) <= 3_600
    assert len(pauses) > 180


@given(st.binary(max_size=200), st.integers(0, 2**33), st.integers(-600, 600))
def test_a_signature_is_good_for_its_body_its_secret_and_its_time(
    body: bytes, at_s: int, late_s: int
) -> None:
    secret, other = new_secret(), new_secret()
    header = sign(body, [secret, other], at_s)
    now_s = at_s + late_s
    assert is_signed(body, header, secret, now_s) == (abs(late_s) <= 300)
    assert is_signed(body, header, other, at_s)
    assert not is_signed(body, header, new_secret(), at_s)
    assert not is_signed(body + b"x", header, secret, at_s)
    assert not is_signed(body, header.replace(f"t={at_s}", f"t={at_s + 1}"), secret, at_s)
    for torn in ("", "t=1", f"t={at_s}", "v1=00", header.replace("t=", "t=x"), f"{header},t=1"):
        assert not is_signed(body, torn, secret, at_s)
