"""The notifications service on a real database, its saga run by hand, and others that tell it."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, cast

from google.protobuf.message import Message

from bank.accounts.v1 import events_pb2 as accounts
from bank.notifications.v1 import notifications_pb2 as pb
from bank.pix.v1 import events_pb2 as pix
from bank.transfers.v1 import events_pb2 as transfers
from mesh.chassis import Chassis
from mesh.db import Database, Row, UnitOfWork, sql
from mesh.events import Event
from mesh.ids import new_id
from mesh.rpc import Caller, Context, User
from mesh.rpc.context import Outgoing, outgoing
from services import wire
from services.money import Money
from services.notifications import handlers, store
from services.notifications.api.messages import NotificationsApi
from services.notifications.clients.mailbox import MailboxMailer
from services.notifications.clients.people import People
from services.notifications.saga import deliver, summarise

from .fakes import FakeJournal, FakeUsers

VERSIONS = Path(store.__file__).parent / "migrations"

# No method looks at it.
CONTEXT = cast(Context, None)

PARTS = (handlers.OWNERS, handlers.MEMBERS, handlers.NOTIFY)


def completed(user_id: str = "ana", minor_units: int = 123_456) -> transfers.TransferCompleted:
    return transfers.TransferCompleted(
        transfer_id=new_id(),
        requested_by=user_id,
        amount=wire.to_wire(Money(minor_units, "BRL")),
    )


def failed(reason: str, user_id: str = "ana") -> transfers.TransferFailed:
    return transfers.TransferFailed(
        transfer_id=new_id(),
        requested_by=user_id,
        amount=wire.to_wire(Money(5, "BRL")),
        failure_reason=reason,
    )


def received(account_id: str) -> pix.PixReceived:
    return pix.PixReceived(
        deposit_id=new_id(), account_id=account_id, amount=wire.to_wire(Money(100_000, "BRL"))
    )


def opened(account_id: str, owner_id: str = "ana") -> accounts.AccountOpened:
    return accounts.AccountOpened(account_id=account_id, owner_id=owner_id)


class Notifications:
    def __init__(self, database: Database) -> None:
        self.database = database
        self.users = FakeUsers()
        # Of what a chassis gives, the door needs the one that the database has too.
        self.api = NotificationsApi(cast(Chassis, database))
        people = People(cast(Any, self.users), cast(Any, self.users))
        self.mailer = MailboxMailer(people, lambda mail: database.transact(store.keep_mail, mail))

    async def tell(self, data: Message, event_id: str = "") -> None:
        event = Event(
            id=event_id or new_id(),
            type=data.DESCRIPTOR.full_name,
            source="test",
            subject="",
            key="",
            version=0,
            time_us=0,
            traceparent="",
            data=data,
            stream="",
            sequence=0,
        )
        for part in PARTS:
            if handle := part.on.get(type(data)):
                await self.database.transact(handle, event)

    async def started(self) -> list[str]:
        rows = await self.rows("SELECT entity_id FROM sagas WHERE saga = 'deliver'")
        return sorted(row["entity_id"] for row in rows)

    async def carry_out(self) -> None:
        """Runs every saga to its end, as the runner does."""
        for message_id in await self.started():
            message = await self.database.read(store.get_message, message_id)
            ended = await deliver(message, FakeJournal(), self.mailer)
            await self.database.transact(store.end, ended)

    async def summarise(self) -> None:
        """Ends every summary, as the runner does when their hour has come."""
        for row in await self.rows("SELECT entity_id FROM sagas WHERE saga = 'summarise'"):
            digest = await self.database.read(store.load_digest, row["entity_id"])
            await self.database.transact(store.send_digest, await summarise(digest, FakeJournal()))

    async def prefer(self, *kinds: pb.NotificationPreference, **more: Any) -> None:
        wanted = pb.NotificationPreferences(kinds=kinds, **more)
        with self.signed_in("ana"):
            await self.api.SetNotificationPreferences(
                pb.SetNotificationPreferencesRequest(preferences=wanted), CONTEXT
            )

    def signed_in(self, user_id: str) -> AbstractContextManager[Outgoing]:
        user = User(user_id=user_id, session_id="session")
        return outgoing(Outgoing(caller=Caller("bff", user)))

    async def mails(self, to: str = "ana@example.com") -> list[pb.Mail]:
        answer = await self.api.ListMailbox(pb.ListMailboxRequest(to=to), CONTEXT)
        return list(answer.messages)

    async def listed(self, user_id: str = "ana", page_size: int = 0) -> list[pb.Notification]:
        request = pb.ListNotificationsRequest(page_size=page_size)
        with self.signed_in(user_id):
            answer = await self.api.ListNotifications(request, CONTEXT)
        return list(answer.notifications)

    async def rows(self, text: str) -> list[Row]:
        async def unit(work: UnitOfWork) -> list[Row]:
            return await work.fetch_all(sql(text))

        return await self.database.read(unit)
