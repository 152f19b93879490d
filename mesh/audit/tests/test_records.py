"""What leaves a record, and that nobody changes one."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace

import pytest
from google.protobuf.wrappers_pb2 import StringValue

from mesh.audit.tests.conftest import NOTE, OWNER, PAUSE, changed, note, records
from mesh.audit.witness import keeps_access, witness
from mesh.auth.audit import StaffAccess
from mesh.db import Asked, CheckViolated, Database, Together, UnitOfWork, open_database, sql
from mesh.db.tests.ledger import seal
from mesh.errors import FailedPrecondition
from mesh.rpc.context import Caller, Outgoing, User, outgoing
from meshapi.v1 import options_pb2
from meshapi.v1.events_pb2 import EditDeadLetterRequest, PauseSubscriptionRequest

FORBIDDEN = {
    "change": sql("UPDATE audit SET actor_id = 'nobody' WHERE id = 1"),
    "removal": sql("DELETE FROM audit WHERE id = 1"),
    "new seal": sql("UPDATE audit SET number = 9 WHERE number = 1"),
}


async def test_who_changes_something_is_on_record_with_it(database: Database) -> None:
    await changed(database, "a")

    [record] = await records(database)
    assert (record["actor_id"], record["session_id"], record["workload"]) == ("maria", "s-1", "bff")
    assert (record["method"], record["outcome"]) == (PAUSE.path, "done")


async def test_what_is_refused_leaves_no_record(database: Database) -> None:
    async def refuse(work: UnitOfWork) -> None:
        await note(work, "a")
        raise FailedPrecondition("NO", "No.")

    with (
        outgoing(Outgoing(caller=OWNER, policy=PAUSE)),
        pytest.raises(FailedPrecondition),
    ):
        await database.transact(refuse)

    assert await records(database) == []


async def test_a_refusal_that_is_kept_is_on_record_as_one(database: Database) -> None:
    async def count_a_failure(work: UnitOfWork) -> None:
        await note(work, "a")
        work.outcome = "refused"

    with outgoing(Outgoing(caller=OWNER, policy=PAUSE)):
        await database.transact(count_a_failure)

    assert [each["outcome"] for each in await records(database)] == ["refused"]


async def test_only_people_leave_records_and_only_where_something_changes(
    database: Database,
) -> None:
    public = replace(PAUSE, access=options_pb2.ACCESS_PUBLIC)
    reading = replace(PAUSE, changes_nothing=True)
    for name, out in {
        "nobody's": None,
        "a workload's own": Outgoing(caller=Caller("transfers"), policy=PAUSE),
        "a read that counts": Outgoing(caller=OWNER, policy=reading),
        "an operator's": Outgoing(caller=Caller("operator"), policy=PAUSE),
        "somebody's who signs up": Outgoing(caller=Caller("bff"), policy=public),
    }.items():
        with outgoing(out or Outgoing()):
            await database.transact(note, name)
    with outgoing(Outgoing(caller=OWNER, policy=PAUSE)):
        await database.transact(_look)

    assert [each["workload"] for each in await records(database)] == ["operator", "bff"]


async def _look(work: UnitOfWork) -> None:
    await work.fetch_one(sql("SELECT 1 AS one"))


async def test_a_record_names_what_the_call_was_about(database: Database) -> None:
    request = EditDeadLetterRequest(subscription="x", event_id="e-1")
    with outgoing(Outgoing(caller=OWNER, policy=PAUSE, request=request)):
        await database.transact(note, "a")

    [record] = await records(database)
    assert record["subject_id"] == "e-1"


async def test_what_was_done_before_leaves_no_record_again(database: Database) -> None:
    async def once(work: UnitOfWork) -> None:
        await work.execute(sql(f"{NOTE.text} ON CONFLICT DO NOTHING"), name="a")

    for _ in range(2):
        with outgoing(Outgoing(caller=OWNER, policy=PAUSE)):
            await database.transact(once)

    assert len(await records(database)) == 1


async def test_what_staff_asks_for_is_on_record_with_the_reason(database: Database) -> None:
    staff = Caller("bff", User(user_id="ana", session_id="s-2"), reason="ticket 4711")
    asked = StaffAccess(caller=staff, method=PAUSE.path, request=PauseSubscriptionRequest())

    await keeps_access(database)(asked)

    [record] = await records(database)
    assert (record["actor_id"], record["reason"], record["outcome"]) == (
        "ana",
        "ticket 4711",
        "asked",
    )


@pytest.mark.parametrize("attempt", FORBIDDEN)
async def test_the_database_refuses_to_change_or_remove_a_record(
    database: Database, attempt: str
) -> None:
    from mesh.audit.sealer import seal_some

    async def attempts(work: UnitOfWork) -> None:
        await work.execute(FORBIDDEN[attempt])

    await changed(database, "a")
    await database.transact(seal_some)

    with pytest.raises(CheckViolated, match="audit_append_only"):
        await database.transact(attempts)


async def test_orders_that_are_carried_out_together_have_a_record_each(url: str) -> None:
    async def unit(work: UnitOfWork, group: Sequence[Asked[str]]) -> list[None]:
        for asked in group:
            await work.execute(NOTE, name=asked.order)
            asked.run(lambda: work.publish(StringValue(value="x"), version=1))
        return [None] * len(group)

    database = await open_database(url, seal=seal, witness=witness)
    together: Together[str, None] = Together(database, unit)

    async def order(who: str) -> None:
        caller = Caller("bff", User(user_id=who, session_id="s"))
        with outgoing(Outgoing(caller=caller, policy=PAUSE)):
            await together(who)

    await asyncio.gather(*(order(f"user-{number}") for number in range(5)))

    assert {each["actor_id"] for each in await records(database)} == {
        f"user-{number}" for number in range(5)
    }
    await database.close()
