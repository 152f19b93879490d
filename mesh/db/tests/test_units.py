"""What holds on both databases."""

from __future__ import annotations

import asyncio
import threading
from contextvars import ContextVar

import pytest
from google.protobuf.wrappers_pb2 import StringValue

from mesh.db import (
    CheckViolated,
    ConstraintViolated,
    Database,
    Row,
    UniqueViolated,
    UnitOfWork,
    open_database,
    sql,
)
from mesh.errors import FailedPrecondition, Overloaded, Transient

from .ledger import (
    ADD,
    LIST,
    MOVE,
    OPEN,
    PEEK,
    add_one,
    balance_of,
    deposit,
    events,
    open_account,
    sagas,
    seal,
    transfer,
)


async def test_concurrent_read_modify_write_loses_no_update(database: Database) -> None:
    await database.transact(open_account, "a")
    await asyncio.gather(*(database.transact(add_one, "a") for _ in range(360)))
    assert await database.read(balance_of, "a") == 360


async def test_a_refusal_undoes_only_its_own_unit(database: Database) -> None:
    await database.transact(open_account, "payer", 10)
    await database.transact(open_account, "payee")
    answers = await asyncio.gather(
        *(database.transact(transfer, "payer", "payee", 1) for _ in range(30)),
        return_exceptions=True,
    )
    assert sum(answer is None for answer in answers) == 10
    assert sum(isinstance(answer, FailedPrecondition) for answer in answers) == 20
    assert await database.read(balance_of, "payer") == 0
    assert await database.read(balance_of, "payee") == 10
    assert await database.read(events) == 10


async def test_a_bug_undoes_its_unit_and_is_shown_to_the_caller(database: Database) -> None:
    async def stumble(work: UnitOfWork) -> None:
        await open_account(work, "a")
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await database.transact(stumble)
    assert await database.read(balance_of, "a") is None


async def test_events_and_sagas_are_kept_with_the_rows_or_not_at_all(database: Database) -> None:
    woken: list[tuple[str, ...]] = []
    database.on_outbox.append(lambda: woken.append(("outbox",)))
    database.on_saga.append(lambda new: woken.append((new.saga, new.entity_id)))

    async def keep(work: UnitOfWork, refused: bool) -> None:
        await open_account(work, "a")
        work.publish(StringValue(value="a"), version=7)
        work.start("deliver", "a")
        work.on_commit(lambda: woken.append(("callback",)))
        if refused:
            raise FailedPrecondition("NO", "No.")

    with pytest.raises(FailedPrecondition):
        await database.transact(keep, refused=True)
    assert (await database.read(events), await database.read(sagas), woken) == (0, 0, [])
    await database.transact(keep, refused=False)
    assert (await database.read(events), await database.read(sagas)) == (1, 1)
    assert woken == [("callback",), ("outbox",), ("deliver", "a")]


async def test_an_event_is_kept_as_it_was_sealed(database: Database) -> None:
    async def tell(work: UnitOfWork) -> None:
        work.publish(StringValue(value="é"), version=2**62)

    async def told(work: UnitOfWork) -> Row | None:
        return await work.fetch_one(sql("SELECT * FROM outbox"))

    await database.transact(tell)
    row = await database.read(told)
    assert row is not None
    assert row["payload"] == StringValue(value="é").SerializeToString()
    assert row["version"] == 2**62
    assert row["headers"] == '{"ce-id":"1"}'
    assert row["sent_at_us"] is None
    assert set(row.keys()) >= {"id", "event_id", "subject", "type", "key", "created_at_us"}


async def test_a_saga_is_started_once(database: Database) -> None:
    async def start(work: UnitOfWork) -> None:
        work.start("deliver", "a")

    await database.transact(start)
    await database.transact(start)
    assert await database.read(sagas) == 1


async def test_a_callback_that_fails_does_not_hide_the_commit(database: Database) -> None:
    async def keep(work: UnitOfWork) -> str:
        work.on_commit(lambda: 1 // 0)  # type: ignore[arg-type]
        return "kept"

    assert await database.transact(keep) == "kept"


async def test_callbacks_run_on_the_thread_of_the_loop(database: Database) -> None:
    threads: list[int] = []

    async def keep(work: UnitOfWork) -> None:
        work.on_commit(lambda: threads.append(threading.get_ident()))

    await database.transact(keep)
    assert threads == [threading.get_ident()]


async def test_a_caller_that_is_cancelled_leaves_a_whole_unit(database: Database) -> None:
    await database.transact(open_account, "a")

    async def add_twice(work: UnitOfWork) -> None:
        for _ in range(2):
            await deposit(work, "a", 1)

    for _ in range(20):
        callers = [asyncio.create_task(database.transact(add_twice)) for _ in range(5)]
        await asyncio.sleep(0)
        for caller in callers:
            caller.cancel()
        await asyncio.gather(*callers, return_exceptions=True)
    await database.transact(add_twice)
    balance = await database.read(balance_of, "a")
    assert balance is not None
    assert balance % 2 == 0


@pytest.mark.parametrize("seconds", [0, 0.01])
async def test_a_unit_that_awaits_something_else_is_refused(
    database: Database, seconds: float
) -> None:
    async def wander(work: UnitOfWork) -> None:
        await open_account(work, "a")
        await asyncio.sleep(seconds)

    with pytest.raises(RuntimeError):
        await database.transact(wander)
    assert await database.read(balance_of, "a") is None


async def test_a_unit_that_hides_a_foreign_await_is_refused(database: Database) -> None:
    async def wander(work: UnitOfWork) -> None:
        await open_account(work, "a")
        try:
            await asyncio.sleep(0)
        except RuntimeError:
            return

    with pytest.raises(RuntimeError, match="hides"):
        await database.transact(wander)
    assert await database.read(balance_of, "a") is None


async def test_violations_are_told_apart_by_name(database: Database) -> None:
    async def twice(work: UnitOfWork, id: str, owner: str) -> None:
        await work.execute(OPEN, id=id, owner=owner, balance=0)

    async def tag(work: UnitOfWork, id: str) -> None:
        await work.execute(sql("UPDATE accounts SET tag = 'x' WHERE id = :id"), id=id)

    async def move(work: UnitOfWork, id: str, account_id: str | None) -> None:
        await work.execute(MOVE, id=id, account_id=account_id, amount=1)

    async def forget(work: UnitOfWork) -> None:
        await work.execute(sql("DELETE FROM movements"))

    await database.transact(open_account, "a")
    await database.transact(open_account, "b")
    await database.transact(tag, "a")
    await database.transact(move, "m", "a")
    for unit, arguments, error, constraint in [
        (twice, ("a", "c"), UniqueViolated, "accounts_pkey"),
        (twice, ("c", "a"), UniqueViolated, "accounts_one_for_each_owner"),
        (tag, ("b",), UniqueViolated, "accounts_tag_key"),
        (move, ("n", "a"), UniqueViolated, "movements_once"),
        (deposit, ("a", -1), CheckViolated, "accounts_not_overdrawn"),
        (forget, (), CheckViolated, "movements are append-only"),
    ]:
        with pytest.raises(error) as violated:
            await database.transact(unit, *arguments)  # type: ignore[arg-type]
        assert violated.value.constraint == constraint
    for account in ("nobody", None):
        with pytest.raises(ConstraintViolated):
            await database.transact(move, "n", account)


async def test_a_violation_that_is_hidden_still_ends_the_unit(database: Database) -> None:
    async def go_on(work: UnitOfWork, again: bool) -> None:
        await open_account(work, "b")
        try:
            await open_account(work, "a")
        except UniqueViolated:
            if again:
                await open_account(work, "c")

    await database.transact(open_account, "a")
    for again in (False, True):
        with pytest.raises(UniqueViolated):
            await database.transact(go_on, again)
    assert await database.read(balance_of, "b") is None


async def test_a_read_can_neither_write_nor_publish(database: Database) -> None:
    async def publish(work: UnitOfWork) -> None:
        work.publish(StringValue())

    async def start(work: UnitOfWork) -> None:
        work.start("deliver", "a")

    with pytest.raises(RuntimeError, match="a read cannot write"):
        await database.read(open_account, "a")
    with pytest.raises(RuntimeError, match="a read cannot publish"):
        await database.read(publish)
    with pytest.raises(RuntimeError, match="a read cannot start"):
        await database.read(start)
    assert await database.read(balance_of, "a") is None


async def test_rows_are_counted_and_fetched(database: Database) -> None:
    async def fill(work: UnitOfWork) -> list[int]:
        rows = [{"id": id, "owner": id, "balance": 5} for id in "abc"]
        await work.execute_many(OPEN, rows)
        return [
            await work.execute(ADD, id="a", amount=1),
            await work.execute(ADD, id="nobody", amount=1),
            await work.execute(sql("UPDATE accounts SET balance = balance + 1")),
        ]

    assert await database.transact(fill) == [1, 0, 3]

    async def listed(work: UnitOfWork) -> list[Row]:
        return await work.fetch_all(LIST)

    rows = await database.read(listed)
    assert [dict(row) for row in rows] == [
        {"id": "a", "balance": 7},
        {"id": "b", "balance": 6},
        {"id": "c", "balance": 6},
    ]


async def test_a_row_may_be_returned_by_the_statement_that_writes_it(database: Database) -> None:
    await database.transact(open_account, "a")
    statement = sql("UPDATE accounts SET balance = balance + 1 WHERE id = :id RETURNING balance")

    async def add(work: UnitOfWork, refused: bool = False) -> int:
        row = await work.fetch_one(statement, id="a")
        assert row is not None
        if refused:
            raise FailedPrecondition("NO", "No.")
        return int(row["balance"])

    with pytest.raises(FailedPrecondition):
        await database.transact(add, refused=True)
    assert await database.transact(add) == 1


async def test_a_query_may_leave_rows_unread(database: Database) -> None:
    async def first_and_more(work: UnitOfWork) -> str:
        await work.execute_many(OPEN, [{"id": id, "owner": id, "balance": 5} for id in "abc"])
        row = await work.fetch_one(LIST)
        assert row is not None
        return str(row["id"])

    assert await database.transact(first_and_more) == "a"
    assert await database.read(balance_of, "c") == 5


async def test_the_callers_context_is_carried(database: Database) -> None:
    variable: ContextVar[str] = ContextVar("variable", default="nothing")
    variable.set("something")

    async def look(work: UnitOfWork) -> str:
        return variable.get()

    assert await database.transact(look) == "something"
    assert await database.read(look) == "something"


async def test_a_unit_of_work_is_over_when_it_is_over(database: Database) -> None:
    leaked: list[UnitOfWork] = []

    async def leak(work: UnitOfWork) -> None:
        leaked.append(work)

    await database.transact(leak)
    with pytest.raises(RuntimeError, match="is over"):
        await leaked[0].fetch_one(PEEK, id="a")
    with pytest.raises(RuntimeError, match="is over"):
        leaked[0].publish(StringValue())


async def test_closing_finishes_what_was_begun(url: str) -> None:
    database = await open_database(url, seal=seal)
    await database.transact(open_account, "a")
    units = [asyncio.create_task(database.transact(deposit, "a", 1)) for _ in range(50)]
    await asyncio.sleep(0)
    await database.close()
    await asyncio.gather(*units)
    with pytest.raises(Transient):
        await database.transact(deposit, "a", 1)
    database = await open_database(url)
    assert await database.read(balance_of, "a") == 50
    await database.close()
    await database.close()


async def test_too_many_waiting_units_are_refused_at_once(url: str) -> None:
    database = await open_database(url, seal=seal, max_waiting=2)
    await database.transact(open_account, "a")
    answers = await asyncio.gather(
        *(database.transact(deposit, "a", 1) for _ in range(5)), return_exceptions=True
    )
    assert sum(isinstance(answer, Overloaded) for answer in answers) == 3
    await database.transact(deposit, "a", 1)
    assert await database.read(balance_of, "a") == 3
    await database.close()


async def test_nothing_is_published_without_a_seal(url: str) -> None:
    database = await open_database(url)

    async def tell(work: UnitOfWork) -> None:
        work.publish(StringValue())

    with pytest.raises(RuntimeError, match="without a seal"):
        await database.transact(tell)
    await database.close()


@pytest.mark.parametrize("url", ["mysql://x", "sqlite://", "sqlite:///:memory:", "bank.db"])
async def test_other_databases_are_not_opened(url: str) -> None:
    with pytest.raises(ValueError, match="database is"):
        await open_database(url)
