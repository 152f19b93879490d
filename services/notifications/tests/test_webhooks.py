"""Webhooks over real gRPC and real HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from bank.accounts.v1 import events_pb2 as accounts
from bank.money.v1.money_pb2 import Money
from bank.notifications.v1 import webhooks_pb2 as pb
from bank.notifications.v1.webhooks_pb2_grpc import WebhooksServiceStub
from bank.transfers.v1 import events_pb2 as transfers
from bank.users.v1 import events_pb2 as users
from bank.users.v1.users_pb2 import ROLE_OPERATOR, ROLE_OWNER, ROLE_UNSPECIFIED
from mesh.clock import now_us
from mesh.errors import InvalidArgument, NotFound, PermissionDenied, Transient
from mesh.events.tests.receiver import Receiver, receiving
from mesh.events.webhooks.signing import SIGNATURE_HEADER, is_signed
from mesh.ids import new_id
from mesh.testing.harness import Running, running
from mesh.testing.waiting import eventually
from services.notifications.app import build

if TYPE_CHECKING:
    from bank.notifications.v1.webhooks_pb2_grpc import WebhooksServiceAsyncStub

ANA, BIA, EVA = new_id(), new_id(), new_id()
BAKERY, MILL = new_id(), new_id()
TILL, SAFE = new_id(), new_id()


@pytest.fixture
async def notifications(tmp_path: Path) -> AsyncIterator[Running]:
    async with running(build, tmp_path) as notifications:
        [post] = notifications.service.background
        posting = asyncio.create_task(_as_coroutine(post))
        for user_id, company_id, role in (
            (ANA, BAKERY, ROLE_OWNER),
            (EVA, BAKERY, ROLE_OPERATOR),
            (BIA, MILL, ROLE_OWNER),
        ):
            member = users.MembershipChanged(company_id=company_id, user_id=user_id, role=role)
            await notifications.tell(member)
        for account_id, company_id, owner_id in ((TILL, BAKERY, ANA), (SAFE, MILL, BIA)):
            opened = accounts.AccountOpened(
                account_id=account_id, company_id=company_id, owner_id=owner_id
            )
            await notifications.tell(opened)
        yield notifications
        posting.cancel()
        await asyncio.gather(posting, return_exceptions=True)


@pytest.fixture
def bff(notifications: Running) -> WebhooksServiceAsyncStub:
    return notifications.stub(WebhooksServiceStub)


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as receiver:
        yield receiver


async def _as_coroutine(work: Any) -> None:
    await work()


def asked(receiver: Receiver, **options: Any) -> pb.CreateWebhookRequest:
    return pb.CreateWebhookRequest(request_id=new_id(), url=receiver.url, **options)


def posted(account_id: str, version: int = 1) -> accounts.EntryPosted:
    return accounts.EntryPosted(
        account_id=account_id,
        entry_id=new_id(),
        amount=Money(minor_units=-250, currency_code="BRL"),
        counterparty="Moinho do Bruno",
        description="farinha",
        version=version,
    )


async def test_a_company_is_told_of_its_own_and_of_nothing_personal(
    notifications: Running, bff: WebhooksServiceAsyncStub, receiver: Receiver
) -> None:
    with notifications.signed_in(ANA):
        made = await bff.CreateWebhook(asked(receiver, event_types=["accounts.EntryPosted"]))
        assert made.webhook.status == pb.WEBHOOK_STATUS_PENDING

        async def is_confirmed() -> bool:
            got = await bff.GetWebhook(pb.GetWebhookRequest(webhook_id=made.webhook.webhook_id))
            return got.webhook.status == pb.WEBHOOK_STATUS_CONFIRMED

        await eventually(is_confirmed)
    for event in (posted(SAFE), posted(new_id()), posted(TILL, 7)):
        await notifications.tell(event)
    created = transfers.TransferCreated(transfer_id=new_id(), payer_account_id=TILL)
    await notifications.tell(created)
    await eventually(lambda: len(receiver.events) == 1)
    [message] = receiver.events
    assert message.json["type"] == "accounts.EntryPosted"
    data = message.json["data"]
    assert (data["accountId"], data["version"], data["amount"]["minorUnits"]) == (
        TILL,
        "7",
        "-250",
    )
    assert not {"counterparty", "description"} & set(data)
    header = message.headers[SIGNATURE_HEADER.lower()]
    assert is_signed(message.body, header, made.secret, now_us() // 1_000_000)

    with notifications.signed_in(ANA):
        listing = pb.ListWebhookDeliveriesRequest(webhook_id=made.webhook.webhook_id)

        async def is_delivered() -> bool:
            found = (await bff.ListWebhookDeliveries(listing)).deliveries
            return [each.status for each in found] == [pb.WEBHOOK_DELIVERY_STATUS_DELIVERED] * 2

        await eventually(is_delivered)
        newest = (await bff.ListWebhookDeliveries(listing)).deliveries[0]
        again = pb.RedeliverWebhookRequest(
            webhook_id=made.webhook.webhook_id, delivery_id=newest.delivery_id
        )
        await bff.RedeliverWebhook(again)
        await eventually(lambda: len(receiver.events) == 2)
        page = pb.ListWebhookDeliveriesRequest(webhook_id=made.webhook.webhook_id, page_size=1)
        first = await bff.ListWebhookDeliveries(page)
        page.page_token = first.next_page_token
        second = await bff.ListWebhookDeliveries(page)
        assert (len(first.deliveries), second.deliveries[0].event_type) == (1, "")
        rotated = await bff.RotateWebhookSecret(
            pb.RotateWebhookSecretRequest(webhook_id=made.webhook.webhook_id)
        )
        assert rotated.secret not in ("", made.secret)


async def test_webhooks_are_the_owners_and_another_companys_is_unknown(
    notifications: Running, bff: WebhooksServiceAsyncStub, receiver: Receiver
) -> None:
    receiver.answer = lambda _: (200, b"")
    request = asked(receiver, format=pb.WEBHOOK_FORMAT_RAW)
    with notifications.signed_in(ANA) as out:
        made = await bff.CreateWebhook(request)
        repeated = await bff.CreateWebhook(request)
        assert (repeated.webhook, repeated.secret, out.replayed) == (made.webhook, "", True)
        await eventually(lambda: len(receiver.posted) == 1)
        token = receiver.posted[0].json["token"]
    known = pb.GetWebhookRequest(webhook_id=made.webhook.webhook_id)
    with notifications.signed_in(EVA):
        with pytest.raises(PermissionDenied):
            await bff.CreateWebhook(asked(receiver))
        with pytest.raises(PermissionDenied):
            await bff.GetWebhook(known)
    confirm = pb.ConfirmWebhookRequest(webhook_id=made.webhook.webhook_id, token=token)
    with notifications.signed_in(BIA):
        with pytest.raises(NotFound, match="no such webhook"):
            await bff.GetWebhook(known)
        with pytest.raises(NotFound, match="no such webhook"):
            await bff.ConfirmWebhook(confirm)
        assert not (await bff.ListWebhooks(pb.ListWebhooksRequest())).webhooks
    with notifications.signed_in(ANA):
        confirmed = await bff.ConfirmWebhook(confirm)
        assert confirmed.webhook.status == pb.WEBHOOK_STATUS_CONFIRMED
        assert len((await bff.ListWebhooks(pb.ListWebhooksRequest())).webhooks) == 1
        await bff.DeleteWebhook(pb.DeleteWebhookRequest(webhook_id=made.webhook.webhook_id))
        assert not (await bff.ListWebhooks(pb.ListWebhooksRequest())).webhooks
    left = users.MembershipChanged(company_id=BAKERY, user_id=ANA, role=ROLE_UNSPECIFIED)
    await notifications.tell(left)
    with notifications.signed_in(ANA), pytest.raises(NotFound):
        await bff.CreateWebhook(asked(receiver))


async def test_what_cannot_be_is_refused(
    notifications: Running, bff: WebhooksServiceAsyncStub, receiver: Receiver
) -> None:
    with notifications.signed_in(ANA):
        with pytest.raises(InvalidArgument, match="no such event"):
            await bff.CreateWebhook(asked(receiver, event_types=["users.UserRegistered"]))
        request = asked(receiver)
        request.url = "ftp://example.com/"
        with pytest.raises(InvalidArgument):
            await bff.CreateWebhook(request)


async def test_in_production_no_message_goes_to_our_own_addresses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BANK_ENV", "production")
    async with running(build, tmp_path) as notifications:
        member = users.MembershipChanged(company_id=BAKERY, user_id=ANA, role=ROLE_OWNER)
        await notifications.tell(member)
        stub = notifications.stub(WebhooksServiceStub)
        with notifications.signed_in(ANA):
            for url in ("http://example.com/", "https://127.0.0.1/", "https://169.254.169.254/"):
                request = pb.CreateWebhookRequest(request_id=new_id(), url=url)
                with pytest.raises(InvalidArgument) as caught:
                    await stub.CreateWebhook(request)
                assert caught.value.reason in ("URL_NOT_HTTPS", "ADDRESS_NOT_PUBLIC")


async def test_a_payer_that_is_not_known_yet_is_waited_for(notifications: Running) -> None:
    created = transfers.TransferCreated(transfer_id=new_id(), payer_account_id=new_id())
    with pytest.raises(Transient):
        await notifications.tell(created)
