from __future__ import annotations

import pytest

from bank.support.v1 import events_pb2 as support
from bank.users.v1 import events_pb2 as users
from bank.users.v1 import users_pb2
from mesh.errors import Transient
from mesh.ids import new_id

from .driver import Notifications, completed, failed, opened, received


async def test_who_signs_up_gets_a_code_by_mail(notifications: Notifications) -> None:
    await notifications.tell(users.UserRegistered(user_id="ana"))
    await notifications.carry_out()

    (mail,) = await notifications.mails()
    assert (mail.kind, mail.to, mail.code) == ("CONFIRMATION", "Ana@Example.com", "000001")
    assert mail.code in mail.body
    assert notifications.users.issued == ["CODE_PURPOSE_CONFIRMATION"]


@pytest.mark.parametrize("purpose", ["CONFIRMATION", "PASSWORD_RESET"])
async def test_who_asks_for_a_code_gets_one(notifications: Notifications, purpose: str) -> None:
    value = users_pb2.CodePurpose.Value(f"CODE_PURPOSE_{purpose}")
    await notifications.tell(users.CodeRequested(user_id="ana", purpose=value))
    await notifications.carry_out()

    (mail,) = await notifications.mails()
    assert mail.kind == purpose
    assert notifications.users.issued == [f"CODE_PURPOSE_{purpose}"]


async def test_codes_are_mailed_and_not_listed(notifications: Notifications) -> None:
    await notifications.tell(users.UserRegistered(user_id="ana"))
    await notifications.carry_out()

    assert await notifications.listed() == []


async def test_who_paid_is_told(notifications: Notifications) -> None:
    event = completed()
    await notifications.tell(event)
    await notifications.carry_out()

    (told,) = await notifications.listed()
    assert (told.kind, told.transfer_id) == ("TRANSFER_COMPLETED", event.transfer_id)
    assert "R$ 1.234,56" in told.body
    assert [mail.kind for mail in await notifications.mails()] == ["TRANSFER_COMPLETED"]
    assert await notifications.listed("bob") == []


async def test_who_could_not_pay_is_told_why(notifications: Notifications) -> None:
    await notifications.tell(failed("INSUFFICIENT_FUNDS"))

    (told,) = await notifications.listed()
    assert told.kind == "TRANSFER_FAILED"
    assert "saldo insuficiente" in told.body


async def test_an_accounts_owner_is_told_of_a_pix(notifications: Notifications) -> None:
    account_id = new_id()
    await notifications.tell(opened(account_id))

    await notifications.tell(received(account_id))

    (told,) = await notifications.listed()
    assert told.kind == "PIX_RECEIVED"
    assert "R$ 1.000,00" in told.body


async def test_who_opened_a_ticket_is_told_of_its_answers(notifications: Notifications) -> None:
    ticket_id = new_id()
    for _ in range(2):
        answered = support.TicketAnswered(ticket_id=ticket_id, opened_by="ana")
        await notifications.tell(answered)

    told = await notifications.listed()
    assert [(each.kind, each.ticket_id) for each in told] == [("TICKET_ANSWERED", ticket_id)] * 2
    assert await notifications.listed("bob") == []


async def test_a_pix_to_an_account_not_heard_of_yet_is_told_later(
    notifications: Notifications,
) -> None:
    account_id = new_id()
    with pytest.raises(Transient):
        await notifications.tell(received(account_id))
    assert await notifications.started() == []

    await notifications.tell(opened(account_id))
    await notifications.tell(received(account_id))

    assert len(await notifications.listed()) == 1


async def test_an_event_is_told_once(notifications: Notifications) -> None:
    event, event_id = completed(), new_id()

    await notifications.tell(event, event_id)
    await notifications.tell(event, event_id)
    await notifications.carry_out()
    await notifications.carry_out()

    assert len(await notifications.listed()) == 1
    assert len(await notifications.mails()) == 1
    assert len(await notifications.started()) == 1


async def test_a_mail_that_is_written_again_carries_the_code_that_counts(
    notifications: Notifications,
) -> None:
    await notifications.tell(users.UserRegistered(user_id="ana"))
    await notifications.carry_out()
    await notifications.carry_out()

    (mail,) = await notifications.mails()
    assert mail.code == "000002"
    assert mail.body.endswith("000002")


async def test_a_message_to_nobody_ends_undeliverable(notifications: Notifications) -> None:
    await notifications.tell(users.UserRegistered(user_id="nobody"))
    await notifications.carry_out()

    rows = await notifications.rows("SELECT status FROM messages")
    assert [row["status"] for row in rows] == ["undeliverable"]


async def test_somebody_who_pays_often_is_looked_up_once(notifications: Notifications) -> None:
    for _ in range(5):
        await notifications.tell(completed())
    await notifications.carry_out()

    assert notifications.users.asked == 1
    assert len(await notifications.mails(" ANA@example.com ")) == 5


async def test_the_newest_comes_first_and_not_more_than_asked(
    notifications: Notifications,
) -> None:
    told = [completed() for _ in range(4)]
    for event in told:
        await notifications.tell(event)

    listed = await notifications.listed(page_size=3)

    assert [item.transfer_id for item in listed] == [
        event.transfer_id for event in reversed(told[1:])
    ]


async def test_who_is_invited_is_sent_a_code_to_the_address_that_was_invited(
    notifications: Notifications,
) -> None:
    await notifications.tell(users.InvitationCreated(company_id="c", invitation_id="i"))
    await notifications.carry_out()

    (mail,) = await notifications.mails("bia@example.com")
    assert (mail.code, notifications.users.issued) == ("c0de", ["i"])


async def test_a_new_device_is_told_of(notifications: Notifications) -> None:
    await notifications.tell(users.NewDeviceSeen(user_id="ana", session_id="s"))
    await notifications.carry_out()

    (mail,) = await notifications.mails()
    assert (mail.kind, mail.code) == ("NEW_DEVICE", "")


async def test_of_who_is_erased_no_message_is_left(notifications: Notifications) -> None:
    await notifications.tell(users.UserRegistered(user_id="ana"))
    await notifications.carry_out()

    await notifications.tell(users.UserErased(user_id="ana"))

    assert await notifications.mails() == []
    assert await notifications.rows("SELECT * FROM messages") == []
