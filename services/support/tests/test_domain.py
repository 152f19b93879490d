"""How urgent a ticket is, what may become of it, and what of a text is kept."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mesh.errors import FailedPrecondition, InvalidArgument
from services.support import domain
from services.support.domain import (
    ANSWERED_WITHIN_US,
    MINUTE_US,
    STUCK_AFTER_US,
    Priority,
    Status,
    Ticket,
    UnderWay,
)

NOW = 10**15
QUESTION = Ticket(
    id="ticket",
    request_id="request",
    opened_by="ana",
    subject="Dúvida",
    description="Como?",
    trace_id="",
    app_version="",
    account_id="",
    transfer_id="transfer",
    created_at_us=NOW,
    waits_since_us=NOW,
)
REPORT = replace(QUESTION, trace_id="4bf92f3577b34da6a3ce929d0e0e4736")


def under_way(for_us: int, transfer_id: str = "other") -> UnderWay:
    return UnderWay(transfer_id=transfer_id, account_id="account", since_us=NOW - for_us)


@pytest.mark.parametrize(
    ("ticket", "known", "priority"),
    [
        (QUESTION, [], Priority.NORMAL),
        (REPORT, [], Priority.HIGH),
        (REPORT, [under_way(STUCK_AFTER_US)], Priority.HIGH),
        (QUESTION, [under_way(STUCK_AFTER_US + 1)], Priority.URGENT),
        (REPORT, [under_way(1), under_way(STUCK_AFTER_US + 1)], Priority.URGENT),
        (QUESTION, [under_way(1, "transfer")], Priority.URGENT),
        # Scheduled, and not begun.
        (QUESTION, [under_way(-5, "transfer")], Priority.NORMAL),
    ],
)
def test_stuck_money_comes_before_a_reported_error_before_a_question(
    ticket: Ticket, known: list[UnderWay], priority: Priority
) -> None:
    assert ticket.prioritised(known).priority is priority


def test_the_more_urgent_the_sooner_an_answer_is_due() -> None:
    due = [replace(QUESTION, priority=priority).answer_due_us for priority in sorted(Priority)]

    assert due == sorted(due)
    assert due[0] == NOW + 15 * MINUTE_US
    assert ANSWERED_WITHIN_US.keys() == set(Priority)


def test_only_the_first_answer_is_timed() -> None:
    once = QUESTION.answered(NOW + 5)
    twice = once.answered(NOW + 9)

    assert QUESTION.first_answer_took_us is None
    assert once.first_answer_took_us == twice.first_answer_took_us == 5
    assert (twice.status, twice.version) == (Status.ANSWERED, 3)


def test_a_ticket_becomes_more_urgent_and_never_less() -> None:
    urgent = REPORT.prioritised([]).escalated(Priority.URGENT, NOW)

    assert (urgent.priority, urgent.version) == (Priority.URGENT, 2)
    assert urgent.escalated(Priority.NORMAL, NOW) is urgent


def test_a_missed_target_makes_a_ticket_more_urgent_step_by_step() -> None:
    asked = QUESTION.prioritised([])
    due = asked.answer_due_us

    assert asked.missed(due - 1) is asked
    high = asked.missed(due)
    assert (high.priority, high.escalated_at_us, high.version) == (Priority.HIGH, due, 2)
    assert high.missed(due) is high
    urgent = high.missed(due + ANSWERED_WITHIN_US[Priority.HIGH])
    last = urgent.missed(due + ANSWERED_WITHIN_US[Priority.HIGH] * 2)
    assert [urgent.priority, last.priority] == [Priority.URGENT] * 2
    assert last.missed(due * 2) is last
    answered = high.answered(due + 1)
    assert answered.missed(due * 2) is answered


def test_a_ticket_that_is_opened_again_waits_as_if_it_were_new() -> None:
    over = QUESTION.prioritised([]).answered(NOW + 5).resolved(NOW + 6)

    again = over.reopened(NOW + 10)

    assert (again.status, again.resolved_at_us, again.times_reopened) == (Status.OPEN, None, 1)
    assert again.answer_due_us - QUESTION.answer_due_us == 10
    assert again.first_answer_took_us == 5
    with pytest.raises(FailedPrecondition, match="waits"):
        again.reopened(NOW + 11)


def test_what_is_resolved_stays_so() -> None:
    resolved = QUESTION.resolved(NOW + 5)

    assert resolved.resolved(NOW + 9) is resolved
    with pytest.raises(FailedPrecondition, match="ended"):
        resolved.answered(NOW)
    with pytest.raises(FailedPrecondition, match="ended"):
        resolved.escalated(Priority.URGENT, NOW)


@pytest.mark.parametrize(
    ("written", "kept"),
    [
        ("Meu CPF 529.982.247-25.", "Meu CPF *****-25."),
        ("Meu CPF é 52998224725", "Meu CPF é *****-25"),
        ("CNPJ 11222333000181", "CNPJ *****-81"),
        ("CNPJ 12.ABC.345/01DE-35", "CNPJ *****-35"),
        ("escreva a <ana@example.com>", "escreva a <***@***>"),
        ("ligue (11) 98765-4321", "ligue ****4321"),
        ("ligue +5511987654321", "ligue ****4321"),
        ("cartão 4111 1111 1111 1111", "cartão ****1111"),
        ("cartão 4111-1111-1111-1111", "cartão ****1111"),
        ("Bearer eyJhbGciOi.eyJzdWIi.c2ln", "Bearer ***"),
        ("R$ 1.234,56 em 25/11/2026 às 14:35", "R$ 1.234,56 em 25/11/2026 às 14:35"),
        ("01a212f2-2d68-754a-9f62-36f1c9057b3d", "01a212f2-2d68-754a-9f62-36f1c9057b3d"),
        ("4bf92f3577b34da6a3ce929d0e0e4736", "4bf92f3577b34da6a3ce929d0e0e4736"),
    ],
)
def test_what_names_or_reaches_somebody_is_masked(written: str, kept: str) -> None:
    assert domain.written(written, "text") == kept
    assert domain.written(kept, "text") == kept


def test_a_text_says_something() -> None:
    with pytest.raises(InvalidArgument):
        domain.written(" \n ", "text")


def test_nobodys_words_are_in_what_a_log_would_show() -> None:
    assert "Como" not in repr(QUESTION)
    assert "Dúvida" not in repr(QUESTION)
