"""What people want to be told, by which channel; what they have read; the summary of a day."""

from __future__ import annotations

import asyncio

import pytest

from bank.notifications.v1 import notifications_pb2 as pb
from bank.users.v1 import events_pb2 as users
from mesh.errors import InvalidArgument, NotFound
from mesh.ids import new_id
from services.notifications import store

from .driver import CONTEXT, Notifications, completed


def only(kind: str, **channels: bool) -> pb.NotificationPreference:
    return pb.NotificationPreference(kind=kind, **channels)


async def test_who_wants_english_is_told_in_english(notifications: Notifications) -> None:
    await notifications.prefer(language=pb.LANGUAGE_ENGLISH)
    await notifications.tell(completed())
    await notifications.carry_out()

    [told] = await notifications.listed()
    [mail] = await notifications.mails()
    assert told.body == "Your transfer of R$1,234.56 was completed."
    assert told.language == pb.LANGUAGE_ENGLISH
    assert mail.body.startswith("Hello, Ana.")


@pytest.mark.parametrize(
    ("in_app", "mail"), [(True, True), (True, False), (False, True), (False, False)]
)
async def test_what_is_told_comes_by_the_channels_that_are_wanted(
    notifications: Notifications, *, in_app: bool, mail: bool
) -> None:
    await notifications.prefer(only("TRANSFER_COMPLETED", in_app=in_app, mail=mail))
    await notifications.tell(completed())
    await notifications.carry_out()

    assert len(await notifications.listed()) == in_app
    assert len(await notifications.mails()) == mail


async def test_what_is_wanted_is_told_again_as_it_was_said(notifications: Notifications) -> None:
    await notifications.prefer(only("PIX_RECEIVED", in_app=True), digest_hour=7)
    with notifications.signed_in("ana"):
        answer = await notifications.api.GetNotificationPreferences(
            pb.GetNotificationPreferencesRequest(), CONTEXT
        )

    wanted = {each.kind: each for each in answer.preferences.kinds}
    assert (wanted["PIX_RECEIVED"].in_app, wanted["PIX_RECEIVED"].mail) == (True, False)
    assert (wanted["TRANSFER_FAILED"].mail, wanted["NEW_DEVICE"].mandatory) == (True, True)
    assert answer.preferences.digest_hour == 7
    assert "CONFIRMATION" not in wanted
    with pytest.raises(InvalidArgument):
        await notifications.prefer(only("NEW_DEVICE", in_app=True))


async def test_what_was_read_counts_no_more_and_others_read_nothing(
    notifications: Notifications,
) -> None:
    for _ in range(3):
        await notifications.tell(completed())
    [first, *_] = await notifications.listed()
    read = pb.MarkNotificationReadRequest(notification_id=first.notification_id)

    with notifications.signed_in("eve"), pytest.raises(NotFound):
        await notifications.api.MarkNotificationRead(read, CONTEXT)
    with notifications.signed_in("ana"):
        once = await notifications.api.MarkNotificationRead(read, CONTEXT)
        again = await notifications.api.MarkNotificationRead(read, CONTEXT)
        request = pb.ListNotificationsRequest(only_unread=True, page_size=1)
        page = await notifications.api.ListNotifications(request, CONTEXT)
        request.page_token = page.next_page_token
        rest = await notifications.api.ListNotifications(request, CONTEXT)
        assert once == again
        assert once.notification.HasField("read_at")
        assert (page.unread, len(page.notifications), len(rest.notifications)) == (2, 1, 1)
        assert rest.next_page_token == ""
        await notifications.api.MarkAllNotificationsRead(
            pb.MarkAllNotificationsReadRequest(), CONTEXT
        )
        page = await notifications.api.ListNotifications(pb.ListNotificationsRequest(), CONTEXT)
        assert (page.unread, len(page.notifications)) == (0, 3)
        with pytest.raises(InvalidArgument):
            await notifications.api.ListNotifications(
                pb.ListNotificationsRequest(page_token="nonsense"), CONTEXT
            )


async def test_a_summary_tells_what_it_was_asked_to_once(notifications: Notifications) -> None:
    await notifications.prefer(only("TRANSFER_COMPLETED", digest=True))
    for minor_units in (100, 200):
        await notifications.tell(completed(minor_units=minor_units))
    assert await notifications.listed() == []
    [row] = await notifications.rows("SELECT entity_id FROM sagas WHERE saga = 'summarise'")
    digest = await notifications.database.read(store.load_digest, row["entity_id"])

    # As if several processes did it at once, or one again after it was killed.
    ask = notifications.database.transact
    await asyncio.gather(*(ask(store.send_digest, digest) for _ in range(5)))
    await notifications.summarise()
    await notifications.carry_out()

    [mail] = await notifications.mails()
    assert mail.kind == "DIGEST"
    assert [text in mail.body for text in ("R$ 1,00", "R$ 2,00")] == [True, True]
    assert await notifications.listed() == []


async def test_of_who_is_erased_no_preference_and_no_summary_is_left(
    notifications: Notifications,
) -> None:
    await notifications.prefer(only("TRANSFER_COMPLETED", digest=True))
    await notifications.tell(completed(), new_id())
    await notifications.tell(users.UserErased(user_id="ana"))

    await notifications.summarise()

    assert await notifications.started() == []
    assert await notifications.rows("SELECT * FROM preferences") == []
