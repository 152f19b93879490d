from __future__ import annotations

import pytest
from google.protobuf.message import Message

from bank.accounts.v1 import events_pb2 as accounts
from bank.pix.v1 import events_pb2 as pix
from bank.pix.v1 import keys_pb2
from bank.support.v1 import events_pb2 as support
from bank.transfers.v1 import events_pb2 as transfers
from bank.users.v1 import events_pb2 as users
from bank.users.v1 import users_pb2
from mesh.errors import Transient
from mesh.ids import new_id
from services import wire
from services.money import Money

from .driver import Notifications, completed, failed, opened, received

BRL = wire.to_wire(Money(5, "BRL"))


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


async def join(notifications: Notifications, **roles: users_pb2.Role.ValueType) -> None:
    for user_id, role in roles.items():
        await notifications.tell(
            users.MembershipChanged(company_id="company", user_id=user_id, role=role)
        )


async def kinds(notifications: Notifications, user_id: str = "ana") -> list[str]:
    return [each.kind for each in await notifications.listed(user_id)]


async def test_approvers_are_told_of_what_waits_for_them_and_who_asked_is_not(
    notifications: Notifications,
) -> None:
    waits = transfers.TransferAwaitingApproval(
        transfer_id="t",
        company_id="company",
        amount=wire.to_wire(Money(5, "BRL")),
        requested_by="ana",
    )
    with pytest.raises(Transient):
        await notifications.tell(waits)
    await join(
        notifications,
        ana=users_pb2.ROLE_OWNER,
        bia=users_pb2.ROLE_APPROVER,
        caio=users_pb2.ROLE_OWNER,
        davi=users_pb2.ROLE_OPERATOR,
    )
    event_id = new_id()
    for _ in range(2):
        await notifications.tell(waits, event_id)

    for user_id in ("bia", "caio"):
        assert "APPROVAL_NEEDED" in await kinds(notifications, user_id)
    for user_id in ("ana", "davi"):
        assert "APPROVAL_NEEDED" not in await kinds(notifications, user_id)
    rows = await notifications.rows("SELECT 1 AS n FROM messages WHERE kind = 'APPROVAL_NEEDED'")
    assert len(rows) == 2


@pytest.mark.parametrize(
    ("event", "kind"),
    [
        (transfers.TransferApproved(requested_by="ana", approved_by="bia"), "TRANSFER_APPROVED"),
        (
            transfers.TransferCancelled(
                requested_by="ana", cancelled_by="bia", reason="APPROVAL_REJECTED"
            ),
            "TRANSFER_REJECTED",
        ),
        (
            transfers.TransferCancelled(requested_by="ana", reason="APPROVAL_EXPIRED"),
            "APPROVAL_EXPIRED",
        ),
        (
            transfers.TransferCancelled(requested_by="ana", cancelled_by="bia"),
            "TRANSFER_CANCELLED",
        ),
        (transfers.TransferReversed(requested_by="ana", returned=BRL), "TRANSFER_RETURNED"),
        (pix.PixReceiptReturned(account_id="till", amount=BRL), "PIX_RETURNED"),
        (pix.PixReceiptReturnFailed(requested_by="ana", amount=BRL), "PIX_RETURN_FAILED"),
        (pix.PixKeyRegistered(account_id="till"), "PIX_KEY_REGISTERED"),
        (pix.PixKeyRemoved(account_id="till"), "PIX_KEY_REMOVED"),
        (
            pix.PixClaimChanged(
                donor_account_id="till", status=keys_pb2.PIX_CLAIM_STATUS_WAITING_RESOLUTION
            ),
            "PIX_KEY_CLAIMED",
        ),
        (accounts.AccountBlocked(account_id="till"), "ACCOUNT_BLOCKED"),
        (accounts.AccountUnblocked(account_id="till"), "ACCOUNT_UNBLOCKED"),
        (accounts.AccountClosed(account_id="till"), "ACCOUNT_CLOSED"),
        (users.MembershipChanged(user_id="ana", role=users_pb2.ROLE_VIEWER), "MEMBERSHIP_CHANGED"),
    ],
)
async def test_whom_it_concerns_is_told(
    notifications: Notifications, event: Message, kind: str
) -> None:
    await notifications.tell(opened("till"))

    await notifications.tell(event)

    assert await kinds(notifications) == [kind]


async def test_who_has_done_it_is_not_told(notifications: Notifications) -> None:
    await notifications.tell(transfers.TransferCancelled(requested_by="ana", cancelled_by="ana"))
    await join(notifications, ana=users_pb2.ROLE_OWNER)

    assert await kinds(notifications) == []


async def test_what_was_scheduled_and_failed_is_told_with_its_date(
    notifications: Notifications,
) -> None:
    failure = failed("INSUFFICIENT_FUNDS")
    await notifications.tell(
        transfers.TransferScheduled(
            transfer_id=failure.transfer_id, scheduled_for=wire.timestamp(1_795_627_800_000_000)
        )
    )

    await notifications.tell(failure)

    [told] = await notifications.listed()
    assert told.kind == "SCHEDULED_TRANSFER_FAILED"
    assert "25/11/2026" in told.body
    assert await notifications.rows("SELECT * FROM scheduled_transfers") == []


async def test_of_who_is_erased_no_message_is_left(notifications: Notifications) -> None:
    await notifications.tell(users.UserRegistered(user_id="ana"))
    await notifications.carry_out()

    await notifications.tell(users.UserErased(user_id="ana"))

    assert await notifications.mails() == []
    assert await notifications.rows("SELECT * FROM messages") == []
