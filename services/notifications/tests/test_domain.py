from __future__ import annotations

import pytest

from mesh.errors import NotFound, Transient
from services.money import Money
from services.notifications.domain import Contact, Occasion, Status, in_words
from services.notifications.saga import deliver

from .fakes import FakeJournal, FakeMailer

WHY = Occasion(event_id="event", user_id="ana", transfer_id="transfer", now_us=7)


@pytest.mark.parametrize(
    ("money", "words"),
    [
        (Money(0, "BRL"), "R$ 0,00"),
        (Money(5, "BRL"), "R$ 0,05"),
        (Money(123_456, "BRL"), "R$ 1.234,56"),
        (Money(100_000_000_00, "BRL"), "R$ 100.000.000,00"),
        (Money(2**63 - 1, "BRL"), "R$ 92.233.720.368.547.758,07"),
        (Money(-123, "BRL"), "-R$ 1,23"),
        (Money(100, "CHF"), "CHF 1,00"),
    ],
)
def test_amounts_are_written_as_in_brazil_and_exactly(money: Money, words: str) -> None:
    assert in_words(money) == words


def test_a_message_is_about_its_occasion() -> None:
    message = WHY.transfer_completed(Money(123_456, "BRL"))

    assert (message.event_id, message.user_id) == ("event", "ana")
    assert (message.transfer_id, message.created_at_us) == ("transfer", 7)
    assert message.body == "Sua transferência de R$ 1.234,56 foi concluída."


@pytest.mark.parametrize(
    ("reason", "why"),
    [("INSUFFICIENT_FUNDS", "saldo insuficiente"), ("AC03", "a operação não foi aceita")],
)
def test_a_failure_is_told_with_its_reason_in_words(reason: str, why: str) -> None:
    assert why in WHY.transfer_failed(Money(1, "BRL"), reason).body


def test_only_the_mail_carries_the_code() -> None:
    message = WHY.confirmation()

    mail = message.mail(Contact("ana@example.com", "Ana", "123456"), 8)

    assert message.needs_code
    assert "123456" not in message.body + message.subject
    assert mail.body.endswith("Código: 123456")
    assert (mail.code, mail.to, mail.message_id) == ("123456", "ana@example.com", message.id)


async def test_a_message_is_delivered_once() -> None:
    message, journal, mailer = WHY.confirmation(), FakeJournal(), FakeMailer()

    first = await deliver(message, journal, mailer)
    again = await deliver(message, journal, mailer)

    assert first.status is again.status is Status.SENT
    assert mailer.delivered == [message]


async def test_a_message_to_nobody_is_undeliverable() -> None:
    nobody = NotFound("USER_NOT_FOUND", "There is no such user.")

    ended = await deliver(WHY.confirmation(), FakeJournal(), FakeMailer(nobody))

    assert ended.status is Status.UNDELIVERABLE


async def test_a_message_that_cannot_be_delivered_yet_is_not_given_up() -> None:
    away = Transient("USERS_UNAVAILABLE", "Nobody answers.")

    with pytest.raises(Transient):
        await deliver(WHY.confirmation(), FakeJournal(), FakeMailer(away))
