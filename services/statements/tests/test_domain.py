from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from mesh.errors import InvalidArgument
from services.money import Money
from services.statements.domain import END, Arrivals, Line, Page, PageTokens, Query
from services.statements.projection import Account

TOKENS = PageTokens(b"secret")
QUERY = Query(user_id="ana", account_id="account")


def a_page(last_version: int, *, has_more: bool = True) -> Page:
    line = Line(
        account_id="account",
        version=last_version,
        entry_id="entry",
        transfer_id="",
        amount=Money(1, "BRL"),
        balance_after=Money(1, "BRL"),
        counterparty="",
        description="",
        occurred_at_us=0,
    )
    return Page([line], has_more, last_version)


@pytest.mark.parametrize("version", [1, 255, 256, END])
def test_the_next_page_begins_before_the_last_line_of_this_one(version: int) -> None:
    assert TOKENS.read(QUERY, TOKENS.next(QUERY, a_page(version))) == version


def test_the_first_page_needs_no_token_and_the_last_gives_none() -> None:
    assert TOKENS.read(QUERY, "") == END
    assert TOKENS.next(QUERY, a_page(1, has_more=False)) == ""


def test_the_size_of_a_page_may_change_on_the_way() -> None:
    token = TOKENS.next(QUERY, a_page(7))

    assert TOKENS.read(replace(QUERY, size=1), token) == 7


@pytest.mark.parametrize(
    "change", [{"user_id": "bob"}, {"account_id": "other"}, {"from_us": 1}, {"to_us": 1}]
)
def test_a_token_fits_the_question_it_was_made_for(change: dict[str, Any]) -> None:
    token = TOKENS.next(QUERY, a_page(7))

    with pytest.raises(InvalidArgument) as refused:
        TOKENS.read(replace(QUERY, **change), token)

    assert refused.value.reason == "INVALID_PAGE_TOKEN"


@pytest.mark.parametrize("token", ["A", "AAAA", "not base64 at all!", "é", "A" * 32, "A" * 256])
def test_nobody_else_can_write_a_token(token: str) -> None:
    with pytest.raises(InvalidArgument):
        TOKENS.read(QUERY, token)


def test_a_token_that_was_changed_is_refused() -> None:
    token = TOKENS.next(QUERY, a_page(7))
    for place, letter in enumerate(token):
        changed = token[:place] + ("A" if letter != "A" else "B") + token[place + 1 :]
        with pytest.raises(InvalidArgument):
            TOKENS.read(QUERY, changed)


def test_the_owner_of_a_new_account_may_read() -> None:
    reader = Account(account_id="account", company_id="company", owner_id="ana").first_reader()

    assert (reader.company_id, reader.user_id, reader.may_read) == ("company", "ana", True)


async def test_news_wakes_who_waits_for_that_account() -> None:
    arrivals = Arrivals()
    with arrivals.watch("a") as first, arrivals.watch("a") as second, arrivals.watch("b") as other:
        arrivals.tell("a")

        assert first.is_set()
        assert second.is_set()
        assert not other.is_set()
    arrivals.tell("a")
    assert not arrivals.watched
