from __future__ import annotations

import re

import pytest

from mesh.clock import from_us, to_us
from mesh.errors import InvalidArgument, NotFound, Transient
from services.money import Money
from services.notifications.domain import texts
from services.notifications.domain.digest import Digest, digest_of, next_digest_us, summary
from services.notifications.domain.messages import CODES, Contact, Kind, Language, Message, Status
from services.notifications.domain.preferences import (
    CHOOSABLE,
    SECURITY,
    USUAL,
    Channels,
    Preferences,
    chosen,
)
from services.notifications.domain.telling import NOTHING, Occasion
from services.notifications.domain.texts import Facts, in_words, when
from services.notifications.saga import deliver

from .fakes import FakeJournal, FakeMailer

# Half past two in the afternoon in Brasília.
NOON = to_us(from_us(0).replace(year=2026, month=11, day=25, hour=17, minute=30))
WHY = Occasion(event_id="event", user_id="ana", transfer_id="transfer", now_us=NOON)
USUALLY = Preferences()
ENGLISH = Preferences(language=Language.ENGLISH)
EVERYTHING = Facts(amount=Money(123_456, "BRL"), reason="INSUFFICIENT_FUNDS", at_us=NOON, count=3)


def a_message(kind: Kind, wanted: Preferences = USUALLY, facts: Facts = NOTHING) -> Message:
    message = WHY.message(kind, wanted, facts)
    assert message is not None
    return message


@pytest.mark.parametrize(
    ("money", "portuguese", "english"),
    [
        (Money(0, "BRL"), "R$ 0,00", "R$0.00"),
        (Money(5, "BRL"), "R$ 0,05", "R$0.05"),
        (Money(123_456, "BRL"), "R$ 1.234,56", "R$1,234.56"),
        (Money(100_000_000_00, "BRL"), "R$ 100.000.000,00", "R$100,000,000.00"),
        (Money(2**63 - 1, "BRL"), "R$ 92.233.720.368.547.758,07", "R$92,233,720,368,547,758.07"),
        (Money(-123, "BRL"), "-R$ 1,23", "-R$1.23"),
        (Money(100, "CHF"), "CHF 1,00", "CHF 1.00"),
    ],
)
def test_amounts_are_written_as_a_language_does_and_exactly(
    money: Money, portuguese: str, english: str
) -> None:
    assert in_words(money, Language.PORTUGUESE) == portuguese
    assert in_words(money, Language.ENGLISH) == english


def test_moments_are_written_in_the_time_of_brasilia() -> None:
    assert when(NOON, Language.PORTUGUESE) == "25/11/2026 às 14:30"
    assert when(NOON, Language.ENGLISH) == "Nov 25, 2026, at 14:30 (Brasília time)"


@pytest.mark.parametrize("kind", Kind)
def test_every_kind_has_a_text_in_every_language_that_tells_the_same_facts(kind: Kind) -> None:
    told = [set(re.findall(r"{\w+}", " ".join(texts.TEXTS[each][kind]))) for each in Language]
    written = [texts.write(kind, each, EVERYTHING) for each in Language]

    assert told[0] == told[1]
    assert written[0] != written[1]
    assert not any("{" in part for pair in written for part in pair)


def test_the_languages_have_the_same_words_and_no_text_too_many() -> None:
    for table in (texts.TEXTS, texts.WORDS, texts.FAILURES):
        assert table[Language.PORTUGUESE].keys() == table[Language.ENGLISH].keys()
    assert texts.TEXTS[Language.ENGLISH].keys() == set(Kind)


def test_a_message_is_about_its_occasion() -> None:
    message = a_message(Kind.TRANSFER_COMPLETED, facts=EVERYTHING)

    assert (message.event_id, message.user_id) == ("event", "ana")
    assert (message.transfer_id, message.created_at_us) == ("transfer", NOON)
    assert message.body == "Sua transferência de R$ 1.234,56 foi concluída."
    english = a_message(Kind.TRANSFER_COMPLETED, ENGLISH, EVERYTHING)
    assert english.body == "Your transfer of R$1,234.56 was completed."


@pytest.mark.parametrize(
    ("reason", "why"),
    [("INSUFFICIENT_FUNDS", "saldo insuficiente"), ("AC03", "a operação não foi aceita")],
)
def test_a_failure_is_told_with_its_reason_in_words(reason: str, why: str) -> None:
    facts = Facts(amount=Money(1, "BRL"), reason=reason)

    assert why in a_message(Kind.TRANSFER_FAILED, facts=facts).body


def test_only_the_mail_carries_the_code() -> None:
    message = a_message(Kind.CONFIRMATION)

    mail = texts.mail(message, Contact("ana@example.com", "Ana", "123456"), 8)

    assert message.needs_code
    assert not message.in_app
    assert "123456" not in message.body + message.subject
    assert mail.body.endswith("Código: 123456")
    assert (mail.code, mail.to, mail.message_id) == ("123456", "ana@example.com", message.id)
    english = texts.mail(a_message(Kind.CONFIRMATION, ENGLISH), Contact("a@b.c", "", "12"), 8)
    assert english.body.startswith("Hello.")
    assert english.body.endswith("Code: 12")


def test_what_is_not_wanted_is_not_told_and_codes_and_security_are() -> None:
    silent = Channels(in_app=False, mail=False)
    wanted = Preferences(kinds=chosen([("PIX_RECEIVED", silent)]))

    assert WHY.message(Kind.PIX_RECEIVED, wanted, EVERYTHING) is None
    assert WHY.message(Kind.CONFIRMATION, wanted) is not None
    for kind in SECURITY:
        with pytest.raises(InvalidArgument) as caught:
            chosen([(kind, silent)])
        assert caught.value.violations[0].field == "preferences.kinds[0]"
        assert WHY.message(kind, wanted) is not None


@pytest.mark.parametrize("kinds", [["NO_SUCH"], ["DIGEST"], [*CODES], ["PIX_RECEIVED"] * 2])
def test_what_makes_no_sense_cannot_be_chosen(kinds: list[str]) -> None:
    with pytest.raises(InvalidArgument):
        chosen([(kind, USUAL) for kind in kinds])


def test_what_is_as_usual_needs_no_keeping() -> None:
    assert chosen([(kind, USUAL) for kind in CHOOSABLE]) == {}


def test_a_summary_is_sent_at_its_hour_of_brasilia() -> None:
    hour = 3_600_000_000

    assert next_digest_us(NOON, 18) == NOON + 3 * hour + hour // 2
    assert next_digest_us(NOON, 14) == NOON + 23 * hour + hour // 2
    # What is kept a moment before the hour is told the day after.
    assert next_digest_us(NOON - 1, 14) - next_digest_us(NOON - hour, 14) == 24 * hour


def test_a_summary_tells_its_messages_in_their_order() -> None:
    digest = Digest("ana", NOON)
    told = [a_message(Kind.PIX_RECEIVED, facts=EVERYTHING), a_message(Kind.NEW_DEVICE)]

    message = summary(digest, Language.ENGLISH, told, NOON)

    assert digest_of(digest.id) == digest
    assert message.subject == "Summary of the day"
    lines = message.body.splitlines()
    assert lines[0] == "Messages since the last summary: 2."
    assert [line.split(": ", 1)[1] for line in lines[2:]] == [each.body for each in told]


async def test_a_message_is_delivered_once() -> None:
    message, journal, mailer = a_message(Kind.CONFIRMATION), FakeJournal(), FakeMailer()

    first = await deliver(message, journal, mailer)
    again = await deliver(message, journal, mailer)

    assert first.status is again.status is Status.SENT
    assert mailer.delivered == [message]


async def test_a_message_to_nobody_is_undeliverable() -> None:
    nobody = NotFound("USER_NOT_FOUND", "There is no such user.")

    ended = await deliver(a_message(Kind.CONFIRMATION), FakeJournal(), FakeMailer(nobody))

    assert ended.status is Status.UNDELIVERABLE


async def test_a_message_that_cannot_be_delivered_yet_is_not_given_up() -> None:
    away = Transient("USERS_UNAVAILABLE", "Nobody answers.")

    with pytest.raises(Transient):
        await deliver(a_message(Kind.CONFIRMATION), FakeJournal(), FakeMailer(away))
