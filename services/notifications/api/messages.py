"""Speaks `bank.notifications.v1.NotificationsService`, and decides nothing."""

from __future__ import annotations

from bank.notifications.v1 import notifications_pb2 as pb
from bank.notifications.v1.notifications_pb2_grpc import NotificationsServiceServicer
from mesh.chassis import Chassis
from mesh.clock import now_us
from mesh.rpc import Context, caller
from services import wire

from .. import store
from ..domain import preferences
from ..domain.messages import PAGE_SIZE, Language, Mail, Message
from ..domain.preferences import CHOOSABLE, DIGEST_HOUR, SECURITY, Channels, Preferences

# Comes after every other id.

LANGUAGES = {
    Language.PORTUGUESE: pb.LANGUAGE_PORTUGUESE,
    Language.ENGLISH: pb.LANGUAGE_ENGLISH,
}


class NotificationsApi(NotificationsServiceServicer):
    """The door of those who read their messages, and say which they want."""

    def __init__(self, chassis: Chassis) -> None:
        self.read = chassis.read
        self.transact = chassis.transact

    async def ListNotifications(
        self, request: pb.ListNotificationsRequest, context: Context
    ) -> pb.ListNotificationsResponse:
        me = caller().must_be_user()
        size = request.page_size or PAGE_SIZE
        found, unread = await self.read(
            store.messages_of,
            me.user_id,
            size + 1,
            before=wire.page_start(request.page_token),
            only_unread=request.only_unread,
        )
        page, next_page = wire.part_page(found, size)
        return pb.ListNotificationsResponse(
            notifications=map(to_wire, page),
            next_page_token=next_page,
            unread=unread,
        )

    async def MarkNotificationRead(
        self, request: pb.MarkNotificationReadRequest, context: Context
    ) -> pb.MarkNotificationReadResponse:
        me = caller().must_be_user()
        message = await self.transact(
            store.mark_read, request.notification_id, me.user_id, now_us()
        )
        return pb.MarkNotificationReadResponse(notification=to_wire(message))

    async def MarkAllNotificationsRead(
        self, request: pb.MarkAllNotificationsReadRequest, context: Context
    ) -> pb.MarkAllNotificationsReadResponse:
        await self.transact(store.mark_all_read, caller().must_be_user().user_id, now_us())
        return pb.MarkAllNotificationsReadResponse()

    async def GetNotificationPreferences(
        self, request: pb.GetNotificationPreferencesRequest, context: Context
    ) -> pb.GetNotificationPreferencesResponse:
        me = caller().must_be_user()
        wanted = await self.read(store.preferences_of, me.user_id)
        return pb.GetNotificationPreferencesResponse(preferences=preferences_to_wire(wanted))

    async def SetNotificationPreferences(
        self, request: pb.SetNotificationPreferencesRequest, context: Context
    ) -> pb.SetNotificationPreferencesResponse:
        me = caller().must_be_user()
        wanted = to_preferences(request.preferences)
        await self.transact(store.set_preferences, me.user_id, wanted)
        return pb.SetNotificationPreferencesResponse(preferences=preferences_to_wire(wanted))

    async def ListMailbox(
        self, request: pb.ListMailboxRequest, context: Context
    ) -> pb.ListMailboxResponse:
        mails = await self.read(store.mails_to, request.to, PAGE_SIZE)
        return pb.ListMailboxResponse(messages=map(mail_to_wire, mails))


def to_wire(message: Message) -> pb.Notification:
    read = message.read_at_us
    return pb.Notification(
        notification_id=message.id,
        kind=message.kind,
        subject=message.subject,
        body=message.body,
        created_at=wire.timestamp(message.created_at_us),
        transfer_id=message.transfer_id,
        ticket_id=message.ticket_id,
        read_at=None if read is None else wire.timestamp(read),
        language=LANGUAGES[message.language],
    )


def to_preferences(asked: pb.NotificationPreferences) -> Preferences:
    kinds = [(each.kind, Channels(each.in_app, each.mail, each.digest)) for each in asked.kinds]
    is_english = asked.language == pb.LANGUAGE_ENGLISH
    return Preferences(
        language=Language.ENGLISH if is_english else Language.PORTUGUESE,
        digest_hour=asked.digest_hour if asked.HasField("digest_hour") else DIGEST_HOUR,
        kinds=preferences.chosen(kinds),
    )


def preferences_to_wire(wanted: Preferences) -> pb.NotificationPreferences:
    kinds = []
    for kind in CHOOSABLE:
        channels = wanted.channels(kind)
        kinds.append(
            pb.NotificationPreference(
                kind=kind,
                in_app=channels.in_app,
                mail=channels.mail,
                digest=channels.digest,
                mandatory=kind in SECURITY,
            )
        )
    return pb.NotificationPreferences(
        language=LANGUAGES[wanted.language], digest_hour=wanted.digest_hour, kinds=kinds
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
