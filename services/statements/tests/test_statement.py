from __future__ import annotations

import asyncio

import pytest

from bank.statements.v1 import statements_pb2 as pb
from mesh.errors import InvalidArgument, NotFound
from mesh.ids import new_id
from mesh.testing.waiting import eventually
from services import wire
from services.statements import api, store
from services.statements.domain import months_of

from .driver import BEGINNING_US, SECOND_US, Statements

# The first of December 2026 has just begun in Brazil.
MIDNIGHT_US = 1_796_094_000_000_000


async def test_a_line_says_what_the_entry_said(statements: Statements) -> None:
    await statements.post(1)

    (entry,) = (await statements.get()).entries

    posted = statements.posted(1)
    assert entry.entry_id == "entry-1"
    assert entry.transfer_id == "transfer-1"
    assert (entry.amount, entry.balance_after) == (posted.amount, posted.balance_after)
    assert (entry.counterparty, entry.description) == ("Outro Banco", "aluguel")
    assert (entry.occurred_at, entry.version) == (posted.occurred_at, 1)


async def test_the_newest_comes_first_and_the_version_is_told(statements: Statements) -> None:
    await statements.post(1, 2, 3)

    page = await statements.get()

    assert [entry.version for entry in page.entries] == [3, 2, 1]
    assert [entry.balance_after.minor_units for entry in page.entries] == [300, 200, 100]
    assert (page.as_of_version, page.next_page_token) == (3, "")


async def test_an_entry_that_comes_again_is_one_line(statements: Statements) -> None:
    await statements.post(1, 2)
    await statements.post(1, 2, 3)

    assert await statements.versions() == [3, 2, 1]


async def test_an_account_without_entries_has_an_empty_statement(statements: Statements) -> None:
    page = await statements.get()

    assert (len(page.entries), page.as_of_version, page.next_page_token) == (0, 0, "")


async def test_pages_are_stable_while_lines_arrive(statements: Statements) -> None:
    await statements.post(*range(1, 8))
    first = await statements.get(page_size=3)
    assert [entry.version for entry in first.entries] == [7, 6, 5]

    await statements.post(8, 9, 10)
    second = await statements.get(page_size=3, page_token=first.next_page_token)
    again = await statements.get(page_size=3, page_token=first.next_page_token)
    third = await statements.get(page_size=3, page_token=second.next_page_token)

    assert [entry.version for entry in second.entries] == [4, 3, 2]
    assert again.entries == second.entries
    assert [entry.version for entry in third.entries] == [1]
    assert third.next_page_token == ""
    assert third.as_of_version == 10


async def test_the_last_page_says_so_even_when_it_is_full(statements: Statements) -> None:
    await statements.post(1, 2, 3)

    assert (await statements.get(page_size=3)).next_page_token == ""


async def test_a_page_token_is_good_for_its_own_account_and_user(statements: Statements) -> None:
    await statements.post(1, 2)
    token = (await statements.get(page_size=1)).next_page_token
    other = new_id()
    await statements.change_member(other, "VIEWER")

    for asked in ({"user_id": other}, {"account_id": new_id()}, {"page_token": token[::-1]}):
        with pytest.raises(InvalidArgument) as refused:
            await statements.get(**({"page_token": token} | asked))
        assert refused.value.reason == "INVALID_PAGE_TOKEN"


async def test_a_page_token_outlives_the_process(statements: Statements) -> None:
    await statements.post(1, 2)
    token = (await statements.get(page_size=1)).next_page_token

    restarted = Statements(statements.database)
    page = await restarted.get(
        statements.owner, account_id=statements.account, page_size=1, page_token=token
    )

    assert [entry.version for entry in page.entries] == [1]


async def test_a_statement_may_be_of_some_time(statements: Statements) -> None:
    await statements.post(1, 2, 3, 4)
    second, fourth = (wire.timestamp(BEGINNING_US + n * SECOND_US) for n in (2, 4))

    assert await statements.versions(from_time=second) == [4, 3, 2]
    assert await statements.versions(to_time=fourth) == [3, 2, 1]
    assert await statements.versions(from_time=second, to_time=fourth) == [3, 2]
    assert await statements.versions(from_time=fourth, to_time=second) == []
    page = await statements.get(from_time=second, page_size=2)
    rest = await statements.versions(from_time=second, page_token=page.next_page_token)
    assert rest == [2]


async def test_an_unknown_account_and_somebody_elses_are_answered_alike(
    statements: Statements,
) -> None:
    await statements.post(1)

    with pytest.raises(NotFound) as foreign:
        await statements.get(new_id())
    with pytest.raises(NotFound) as unknown:
        await statements.get(account_id=new_id())

    assert foreign.value.reason == unknown.value.reason == "ACCOUNT_NOT_FOUND"
    assert str(foreign.value) == str(unknown.value)


async def test_every_member_may_read_until_they_are_none(statements: Statements) -> None:
    member = new_id()
    await statements.change_member(member, "VIEWER")
    assert await statements.versions(member) == []

    await statements.change_member(member, "UNSPECIFIED")

    with pytest.raises(NotFound):
        await statements.get(member)


async def test_an_owner_who_left_before_the_account_was_told_does_not_read(
    statements: Statements,
) -> None:
    late = Statements(statements.database)
    await late.change_member(late.owner, "UNSPECIFIED")

    await late.open()

    with pytest.raises(NotFound):
        await late.get()


async def test_the_projection_wakes_who_waits_for_a_version(
    statements: Statements, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api, "LONGEST_WAIT_S", 60.0)
    monkeypatch.setattr(api, "LOOK_AGAIN_S", 60.0)
    await statements.post(1)
    waiting = asyncio.create_task(statements.get(after_version=3))
    await eventually(lambda: statements.is_watched)
    await statements.post(2)
    await statements.post(3)

    assert (await waiting).as_of_version == 3
    assert not statements.is_watched


async def test_an_answer_waits_for_an_account_that_is_about_to_be_told(
    statements: Statements,
) -> None:
    late = Statements(statements.database)
    waiting = asyncio.create_task(late.get(after_version=1))
    await eventually(lambda: late.is_watched)
    await late.open()
    await late.post(1)

    assert (await waiting).as_of_version == 1


async def test_an_answer_finds_what_another_process_has_kept(statements: Statements) -> None:
    elsewhere = Statements(statements.database)
    elsewhere.account = statements.account
    waiting = asyncio.create_task(statements.get(after_version=1))
    await eventually(lambda: statements.is_watched)
    await elsewhere.post(1)

    assert (await waiting).as_of_version == 1


async def test_a_version_that_does_not_come_is_not_waited_for_for_ever(
    statements: Statements,
) -> None:
    await statements.post(1)

    assert (await statements.get(after_version=99)).as_of_version == 1
    with pytest.raises(NotFound):
        await statements.get(new_id(), after_version=99)


async def test_lines_are_found_by_words_and_by_direction(statements: Statements) -> None:
    odd = statements.posted(4)
    odd.description, odd.counterparty = "100% da Farinha_x", "MOINHO"
    odd.amount.minor_units = -50
    await statements.post(1, 2, 3)
    await statements.apply(odd)

    assert await statements.versions(search="moinho") == [4]
    assert await statements.versions(search="100% da") == [4]
    assert await statements.versions(search="a%farinha") == []
    assert await statements.versions(search="aluguel") == [3, 2, 1]
    assert await statements.versions(direction=pb.DIRECTION_OUT) == [4]
    assert await statements.versions(direction=pb.DIRECTION_IN, search="banco") == [3, 2, 1]


async def test_a_page_token_is_good_for_the_same_search_alone(statements: Statements) -> None:
    await statements.post(1, 2, 3)
    first = await statements.get(page_size=1, search="aluguel")

    with pytest.raises(InvalidArgument, match="page token"):
        await statements.get(page_size=1, search="outro", page_token=first.next_page_token)


async def test_months_follow_one_another(statements: Statements) -> None:
    begins = {name: start for name, start, _ in months_of(2026, MIDNIGHT_US)}
    balance = 0
    for version, (month, units) in enumerate(
        [("2026-09", 500), ("2026-09", -100), ("2026-10", 1), ("2026-11", -401)], 1
    ):
        line, balance = statements.posted(version), balance + units
        line.amount.minor_units, line.balance_after.minor_units = units, balance
        line.occurred_at.CopyFrom(wire.timestamp(begins[month]))
        await statements.apply(line)

    months = await statements.database.read(
        store.find_months, statements.owner, statements.account, 0, MIDNIGHT_US
    )

    assert months is not None
    assert [
        (each.month, each.opening.minor_units, each.closing.minor_units, each.entries, each.closed)
        for each in months
    ] == [
        ("2026-12", 0, 0, 0, False),
        ("2026-11", 401, 0, 1, True),
        ("2026-10", 400, 401, 1, True),
        ("2026-09", 0, 400, 2, True),
    ]
    assert (months[-1].received.minor_units, months[-1].spent.minor_units) == (500, 100)
    assert (
        await statements.database.read(
            store.find_months, new_id(), statements.account, 0, MIDNIGHT_US
        )
        is None
    )


def test_a_month_begins_at_midnight_in_brazil() -> None:
    [(name, start, end), *_] = months_of(2026, MIDNIGHT_US)
    assert name == "2026-01"
    assert start == 1_767_236_400_000_000  # 03:00 UTC
    assert end - start == 31 * 86_400_000_000
    assert months_of(2027, MIDNIGHT_US) == []
    assert len(months_of(2025, MIDNIGHT_US)) == 12
