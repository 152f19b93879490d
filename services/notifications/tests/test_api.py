"""The door over real gRPC, and real sagas that ask a users service."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from bank.notifications.v1 import notifications_pb2 as pb
from bank.notifications.v1.notifications_pb2_grpc import NotificationsServiceStub
from bank.users.v1 import events_pb2 as users
from mesh.errors import PermissionDenied, Unauthenticated
from mesh.ids import new_id
from mesh.testing.harness import Running, running
from mesh.testing.waiting import eventually
from services.notifications import store
from services.notifications.app import build

from .driver import completed
from .smtp import ANA, UsersApi

if TYPE_CHECKING:
    from bank.notifications.v1.notifications_pb2_grpc import NotificationsServiceAsyncStub


@pytest.fixture
async def notifications(tmp_path: Path) -> AsyncIterator[Running]:
    async with running(build, tmp_path, peers={"users": [UsersApi()]}) as notifications:
        yield notifications


@pytest.fixture
def bff(notifications: Running) -> NotificationsServiceAsyncStub:
    return notifications.stub(NotificationsServiceStub)


async def mails(bff: NotificationsServiceAsyncStub, count: int) -> Sequence[pb.Mail]:
    """Waits for so many e-mails, and gives them."""
    request = pb.ListMailboxRequest(to="ana@example.com")

    async def have_come() -> bool:
        return len((await bff.ListMailbox(request)).messages) >= count

    await eventually(have_come)
    return (await bff.ListMailbox(request)).messages


async def test_a_code_comes_by_mail(
    notifications: Running, bff: NotificationsServiceAsyncStub
) -> None:
    await notifications.tell(users.UserRegistered(user_id=ANA))

    (mail,) = await mails(bff, 1)

    assert (mail.kind, mail.code, mail.to) == ("CONFIRMATION", "000001", "Ana@Example.com")


async def test_a_payment_is_told_by_mail_and_in_the_list(
    notifications: Running, bff: NotificationsServiceAsyncStub
) -> None:
    await notifications.tell(completed(ANA))

    (mail,) = await mails(bff, 1)
    with notifications.signed_in(ANA):
        listed = await bff.ListNotifications(pb.ListNotificationsRequest())

    assert [mail.subject] == [item.subject for item in listed.notifications]


async def test_the_list_is_its_owners(
    notifications: Running, bff: NotificationsServiceAsyncStub
) -> None:
    await notifications.tell(completed(ANA))

    with notifications.signed_in(new_id()):
        listed = await bff.ListNotifications(pb.ListNotificationsRequest())
    assert not listed.notifications
    with pytest.raises(Unauthenticated):
        await bff.ListNotifications(pb.ListNotificationsRequest())


async def test_there_is_no_mailbox_in_production(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BANK_ENV", "production")
    async with running(build, tmp_path) as notifications:
        await notifications.tell(users.UserRegistered(user_id=ANA))

        stub = notifications.stub(NotificationsServiceStub)
        with pytest.raises(PermissionDenied):
            await stub.ListMailbox(pb.ListMailboxRequest(to="ana@example.com"))
        assert await notifications.database.read(store.mails_to, "ana@example.com", 1) == []
