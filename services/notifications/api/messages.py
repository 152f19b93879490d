"""Speaks `bank.notifications.v1.NotificationsService`, and decides nothing."""

from __future__ import annotations

from bank.notifications.v1 import notifications_pb2 as pb
from bank.notifications.v1.notifications_pb2_grpc import NotificationsServiceServicer
from mesh.chassis import Chassis
from mesh.rpc import Context, caller
from services import wire

from .. import store
from ..domain import PAGE_SIZE, Mail, Message


class NotificationsApi(NotificationsServiceServicer):
    """The door of those who read their messages."""

    def __init__(self, chassis: Chassis) -> None:
        self.read = chassis.read

    async def ListNotifications(
        self, request: pb.ListNotificationsRequest, context: Context
    ) -> pb.ListNotificationsResponse:
        me = caller().must_be_user()
        size = request.page_size or PAGE_SIZE
        messages = await self.read(store.messages_of, me.user_id, size)
        return pb.ListNotificationsResponse(notifications=map(to_wire, messages))

    async def ListMailbox(
        self, request: pb.ListMailboxRequest, context: Context
    ) -> pb.ListMailboxResponse:
        mails = await self.read(store.mails_to, request.to, PAGE_SIZE)
        return pb.ListMailboxResponse(messages=map(mail_to_wire, mails))


def to_wire(message: Message) -> pb.Notification:
    return pb.Notification(
        notification_id=message.id,
        kind=message.kind,
        subject=message.subject,
        body=message.body,
        created_at=wire.timestamp(message.created_at_us),
        transfer_id=message.transfer_id,
        ticket_id=message.ticket_id,
    )


def mail_to_wire(mail: Mail) -> pb.Mail:
    return pb.Mail(
        mail_id=mail.id,
        to=mail.to,
        subject=mail.subject,
        body=mail.body,
        code=mail.code,
        sent_at=wire.timestamp(mail.sent_at_us),
        kind=mail.kind,
    )
