"""Speaks `bank.notifications.v1.WebhooksService`, and decides nothing."""

from __future__ import annotations

from bank.notifications.v1 import webhooks_pb2 as pb
from bank.notifications.v1.webhooks_pb2_grpc import WebhooksServiceServicer
from mesh.chassis import Chassis
from mesh.db import UnitOfWork
from mesh.events import webhooks
from mesh.events.webhooks import Delivery, Webhook, Webhooks
from mesh.rpc import Context, caller, mark_replayed
from services import wire

from .. import store
from ..domain import webhooks as domain
from ..domain.messages import PAGE_SIZE
from ..domain.webhooks import MOST_WEBHOOKS


class WebhooksApi(WebhooksServiceServicer):
    """The door of those whose programs listen."""

    def __init__(self, chassis: Chassis, posted: Webhooks) -> None:
        self.chassis = chassis
        self.posted = posted

    async def CreateWebhook(
        self, request: pb.CreateWebhookRequest, context: Context
    ) -> pb.CreateWebhookResponse:
        user_id = caller().must_be_user().user_id
        domain.must_be_told(request.event_types)
        webhooks.check_url(request.url, is_open=self.posted.is_open)

        async def add(work: UnitOfWork) -> tuple[Webhook, bool]:
            roles = await store.roles_of(work, user_id)
            company_id = domain.owned_company(roles, request.company_id)
            return await self.posted.add(
                work, to_webhook(request, user_id, company_id), most=MOST_WEBHOOKS
            )

        webhook, is_new = await self.chassis.transact(add)
        if not is_new:
            mark_replayed(context)
        return pb.CreateWebhookResponse(
            webhook=to_wire(webhook), secret=webhook.secret if is_new else ""
        )

    async def ListWebhooks(
        self, request: pb.ListWebhooksRequest, context: Context
    ) -> pb.ListWebhooksResponse:
        user_id = caller().must_be_user().user_id

        async def find(work: UnitOfWork) -> list[Webhook]:
            roles = await store.roles_of(work, user_id)
            companies = domain.owned_companies(roles, request.company_id)
            return [
                each for company in companies for each in await webhooks.owned_by(work, company)
            ]

        found = sorted(await self.chassis.read(find), key=lambda each: each.id, reverse=True)
        return pb.ListWebhooksResponse(webhooks=map(to_wire, found))

    async def GetWebhook(
        self, request: pb.GetWebhookRequest, context: Context
    ) -> pb.GetWebhookResponse:
        webhook = await self.owned(request.webhook_id)
        return pb.GetWebhookResponse(webhook=to_wire(webhook))

    async def DeleteWebhook(
        self, request: pb.DeleteWebhookRequest, context: Context
    ) -> pb.DeleteWebhookResponse:
        await self.owned(request.webhook_id)
        await self.chassis.transact(webhooks.delete, request.webhook_id)
        return pb.DeleteWebhookResponse()

    async def ConfirmWebhook(
        self, request: pb.ConfirmWebhookRequest, context: Context
    ) -> pb.ConfirmWebhookResponse:
        await self.owned(request.webhook_id)
        webhook = await self.chassis.transact(webhooks.confirm, request.webhook_id, request.token)
        return pb.ConfirmWebhookResponse(webhook=to_wire(webhook))

    async def RotateWebhookSecret(
        self, request: pb.RotateWebhookSecretRequest, context: Context
    ) -> pb.RotateWebhookSecretResponse:
        await self.owned(request.webhook_id)
        webhook = await self.chassis.transact(webhooks.rotate, request.webhook_id)
        return pb.RotateWebhookSecretResponse(
            secret=webhook.secret, former_until=wire.timestamp(webhook.former_until_us)
        )

    async def ListWebhookDeliveries(
        self, request: pb.ListWebhookDeliveriesRequest, context: Context
    ) -> pb.ListWebhookDeliveriesResponse:
        await self.owned(request.webhook_id)
        size = request.page_size or PAGE_SIZE
        status = STATUSES.get(request.status, "")
        found = await self.chassis.read(
            webhooks.deliveries, request.webhook_id, status, request.page_token, size + 1
        )
        return pb.ListWebhookDeliveriesResponse(
            deliveries=map(delivery_to_wire, found[:size]),
            next_page_token=found[size - 1].id if len(found) > size else "",
        )

    async def RedeliverWebhook(
        self, request: pb.RedeliverWebhookRequest, context: Context
    ) -> pb.RedeliverWebhookResponse:
        await self.owned(request.webhook_id)
        delivery = await self.chassis.transact(
            self.posted.deliver_again, request.webhook_id, request.delivery_id
        )
        return pb.RedeliverWebhookResponse(delivery=delivery_to_wire(delivery))

    async def owned(self, webhook_id: str) -> Webhook:
        user_id = caller().must_be_user().user_id
        return await self.chassis.read(store.owned, webhook_id, user_id)


STATUSES = {
    pb.WEBHOOK_DELIVERY_STATUS_PENDING: "pending",
    pb.WEBHOOK_DELIVERY_STATUS_DELIVERED: "delivered",
    pb.WEBHOOK_DELIVERY_STATUS_DEAD: "dead",
}


def to_webhook(request: pb.CreateWebhookRequest, user_id: str, company_id: str) -> Webhook:
    return Webhook(
        owner=company_id,
        created_by=user_id,
        request_id=request.request_id,
        url=request.url,
        types=tuple(request.event_types),
        format="raw" if request.format == pb.WEBHOOK_FORMAT_RAW else "enveloped",
        max_per_second=request.max_per_second or domain.POSTS_A_SECOND,
    )


def to_wire(webhook: Webhook) -> pb.Webhook:
    return pb.Webhook(
        webhook_id=webhook.id,
        company_id=webhook.owner,
        url=webhook.url,
        event_types=webhook.types,
        format=pb.WebhookFormat.Value(f"WEBHOOK_FORMAT_{webhook.format.upper()}"),
        max_per_second=webhook.max_per_second,
        status=pb.WebhookStatus.Value(f"WEBHOOK_STATUS_{webhook.status.upper()}"),
        created_at=wire.timestamp(webhook.created_at_us),
    )


def delivery_to_wire(delivery: Delivery) -> pb.WebhookDelivery:
    is_pending = delivery.status == "pending"
    status = f"WEBHOOK_DELIVERY_STATUS_{delivery.status.upper()}"
    return pb.WebhookDelivery(
        delivery_id=delivery.id,
        event_id=delivery.event_id,
        event_type=delivery.type,
        status=pb.WebhookDeliveryStatus.Value(status),
        attempts=delivery.attempts,
        response_status=delivery.response_status,
        error=delivery.error,
        next_attempt_at=wire.timestamp(delivery.next_at_us) if is_pending else None,
        created_at=wire.timestamp(delivery.created_at_us),
    )
