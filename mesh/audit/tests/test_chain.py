"""The chain: sealed soon, side by side too, and what is done to it behind its back is named."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import cast

import pytest

from mesh.audit.api import AuditApi
from mesh.audit.chain import CONTENT, digest_of, seal_of
from mesh.audit.sealer import Sealer, seal_some
from mesh.audit.tests.conftest import behind, changed, records
from mesh.audit.witness import witness
from mesh.db import Database, Row, open_database
from mesh.rpc.context import Caller, Context, User
from mesh.testing.waiting import eventually
from meshapi.v1 import audit_pb2 as pb

Tampering = Callable[[list[Row]], list[str]]

COLUMNS = (*CONTENT, "digest", "number", "previous", "seal")


def changing(rows: list[Row]) -> list[str]:
    return ["UPDATE audit SET actor_id = 'somebody' WHERE id = 3"]


def changing_with_its_digest(rows: list[Row]) -> list[str]:
    digest = digest_of({**dict(rows[2]), "actor_id": "somebody"}[name] for name in CONTENT)
    set_digest = f"UPDATE audit SET digest = x'{digest.hex()}' WHERE id = 3"
    return [*changing(rows), set_digest]


def rewriting(rows: list[Row], number: int) -> list[str]:
    row = rows[number - 1]
    digest = digest_of({**dict(row), "actor_id": "somebody"}[name] for name in CONTENT)
    seal = seal_of(number, row["id"], row["previous"], digest)
    return [
        f"UPDATE audit SET actor_id = 'somebody', digest = x'{digest.hex()}',"
        f" seal = x'{seal.hex()}' WHERE id = {row['id']}"
    ]


def changing_with_its_seal(rows: list[Row]) -> list[str]:
    return rewriting(rows, 3)


def removing(rows: list[Row]) -> list[str]:
    return ["DELETE FROM audit WHERE id = 3"]


def closing_the_gap(rows: list[Row]) -> list[str]:
    return [*removing(rows), *(f"UPDATE audit SET number = {n - 1} WHERE id = {n}" for n in (4, 5))]


def cutting_off_the_end(rows: list[Row]) -> list[str]:
    return ["DELETE FROM audit WHERE id >= 3"]


def swapping(rows: list[Row]) -> list[str]:
    return [
        "UPDATE audit SET number = 99 WHERE id = 3",
        "UPDATE audit SET number = 3 WHERE id = 4",
        "UPDATE audit SET number = 4 WHERE id = 3",
    ]


def swapping_contents(rows: list[Row]) -> list[str]:
    def content(row: Row, into: int) -> str:
        texts = ", ".join(f"{name} = '{row[name]}'" for name in CONTENT if name != "at_us")
        digest = f"digest = x'{row['digest'].hex()}'"
        return f"UPDATE audit SET at_us = {row['at_us']}, {texts}, {digest} WHERE id = {into}"

    return [content(rows[2], 4), content(rows[3], 3)]


def inserting(rows: list[Row]) -> list[str]:
    names = ", ".join(COLUMNS)
    forged = dict(rows[2]) | {"actor_id": "somebody"}
    values = ", ".join(
        f"x'{value.hex()}'" if isinstance(value, bytes) else f"'{value}'"
        for value in (forged[name] for name in COLUMNS)
    )
    return [
        "UPDATE audit SET number = 6 WHERE id = 5",
        "UPDATE audit SET number = 5 WHERE id = 4",
        "UPDATE audit SET number = 4 WHERE id = 3",
        f"INSERT INTO audit (id, {names}) VALUES (100, {values})",
    ]


def taking_the_seal_away(rows: list[Row]) -> list[str]:
    return ["UPDATE audit SET number = NULL, previous = NULL, seal = NULL WHERE id = 3"]


# What is done, the number that is named first, and what is said of it.
TAMPERING: list[tuple[Tampering, int, str]] = [
    (changing, 3, "changed"),
    (changing_with_its_digest, 3, "moved or replaced"),
    (changing_with_its_seal, 3, "changed: with its seal"),
    (removing, 3, "removed"),
    (closing_the_gap, 3, "moved"),
    (cutting_off_the_end, 3, "the end was cut off"),
    (swapping, 3, "moved"),
    (swapping_contents, 3, "moved or replaced"),
    (inserting, 3, "changed"),
    (taking_the_seal_away, 3, "removed"),
]


async def verified(
    database: Database, pinned: pb.AuditHead | None = None
) -> pb.VerifyAuditResponse:
    request = pb.VerifyAuditRequest(pinned=pinned)
    return await AuditApi(database).VerifyAudit(request, cast(Context, None))


async def five(database: Database) -> pb.AuditHead:
    for name in "abcde":
        await changed(database, name, Caller("bff", User(user_id=name, session_id="s")))
    await database.transact(seal_some)
    found = await verified(database)
    assert (list(found.flaws), found.looked_at, found.waiting) == ([], 5, 0)
    return found.head


@pytest.mark.parametrize(
    ("tampering", "number", "what"), TAMPERING, ids=[each[0].__name__ for each in TAMPERING]
)
async def test_what_is_done_to_the_rows_is_named(
    database: Database, url: str, tampering: Tampering, number: int, what: str
) -> None:
    head = await five(database)

    await behind(url, tampering(await records(database)))

    found = await verified(database, head)
    assert found.flaws, "nothing was found"
    assert (found.flaws[0].number, found.flaws[0].sentence.startswith(what)) == (number, True)


async def test_a_chain_that_was_made_anew_is_not_the_one_that_was_there(
    database: Database, url: str
) -> None:
    head = await five(database)

    await behind(url, rewriting(await records(database), 5))

    assert not (await verified(database)).flaws
    [flaw] = (await verified(database, head)).flaws
    assert flaw.number == 5


async def test_records_are_sealed_soon_and_what_was_left_is_sealed_at_the_start(
    database: Database,
) -> None:
    await changed(database, "left")
    sealer = Sealer(database)
    sealer.start()
    await changed(database, "new")

    async def is_sealed() -> bool:
        return all(each["number"] for each in await records(database))

    await eventually(is_sealed)
    await changed(database, "last")
    await sealer.stop()

    found = await verified(database)
    assert (found.head.number, found.waiting, list(found.flaws)) == (3, 0, [])


async def test_two_processes_make_one_chain(database: Database, url: str) -> None:
    other = await open_database(url, witness=witness)
    sealers = [Sealer(database), Sealer(other)]
    for sealer in sealers:
        sealer.start()

    await asyncio.gather(
        *(changed(database, f"a-{number}") for number in range(150)),
        *(changed(other, f"b-{number}") for number in range(150)),
    )
    for sealer in sealers:
        await sealer.stop()
    while (await database.transact(seal_some))[0]:
        pass

    found = await verified(database)
    assert (found.head.number, found.waiting, list(found.flaws)) == (300, 0, [])
    await other.close()


async def test_records_are_found_by_whom_and_how(database: Database) -> None:
    await five(database)

    async def numbers(request: pb.SearchAuditRequest) -> list[int]:
        found = await AuditApi(database).SearchAudit(request, cast(Context, None))
        return [each.number for each in found.records]

    assert await numbers(pb.SearchAuditRequest()) == [5, 4, 3, 2, 1]
    assert await numbers(pb.SearchAuditRequest(actor_id="c")) == [3]
    assert await numbers(pb.SearchAuditRequest(method="PauseSubscription", page_size=2)) == [5, 4]
    assert await numbers(pb.SearchAuditRequest(method="Pause%")) == []
    assert await numbers(pb.SearchAuditRequest(before_row_id=3)) == [2, 1]
