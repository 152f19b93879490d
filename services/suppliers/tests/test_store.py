"""Suppliers in the databases that keep them."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from mesh.db import Database, UnitOfWork, sql
from mesh.errors import AlreadyExists, NotFound, PermissionDenied
from mesh.ids import new_id
from services.suppliers import store
from services.suppliers.domain import Change, Query, Status, Supplier

LAST = "~"


@pytest.fixture
async def known(database: Database) -> Database:
    """A database that knows Ana, who may change, and Vera, who may read."""
    await database.transact(store.set_member, "ana", "company", True)
    await database.transact(store.set_member, "vera", "company", False)
    return database


def a_supplier(document: str = "11222333000181", **more: Any) -> Supplier:
    usual: dict[str, Any] = {
        "id": new_id(),
        "company_id": "",
        "created_by": "ana",
        "request_id": new_id(),
        "name": "Lima",
        "document": document,
        "pix_key": "+5511987654321",
        "favourite": False,
        "created_at_us": 1,
        "updated_at_us": 1,
    }
    return Supplier(**(usual | more))


async def told(database: Database) -> list[str]:
    async def unit(work: UnitOfWork) -> list[str]:
        rows = await work.fetch_all(sql("SELECT type, version FROM outbox ORDER BY id"))
        return [f"{row['type'].rpartition('.')[2]} {row['version']}" for row in rows]

    return await database.read(unit)


async def test_equal_requests_at_once_are_one_supplier(known: Database) -> None:
    asked = a_supplier()

    answers = await asyncio.gather(
        *(known.transact(store.add, replace(asked, id=new_id())) for _ in range(20))
    )

    assert len({supplier.id for supplier, _ in answers}) == 1
    assert sum(is_new for _, is_new in answers) == 1
    assert await told(known) == ["SupplierSaved 1"]


async def test_a_document_is_one_active_supplier_of_a_company(known: Database) -> None:
    first, _ = await known.transact(store.add, a_supplier())
    with pytest.raises(AlreadyExists, match="this document"):
        await known.transact(store.add, a_supplier())
    await known.transact(store.remove, first.id, "ana", 2)

    _, is_new = await known.transact(store.add, a_supplier())

    assert is_new


async def test_changes_at_once_follow_one_another(known: Database) -> None:
    supplier, _ = await known.transact(store.add, a_supplier())

    await asyncio.gather(
        *(
            known.transact(store.change, supplier.id, "ana", Change(name=f"{number}", at_us=2))
            for number in range(8)
        )
    )
    removed = await known.transact(store.remove, supplier.id, "ana", 3)

    assert (removed.version, removed.status) == (10, Status.REMOVED)
    savings = await known.read(store.savings, supplier.id, "vera", 100)
    assert [saving.version for saving in savings] == list(range(10, 0, -1))
    assert (await told(known))[-1] == "SupplierRemoved 10"


async def test_who_may_read_does_not_change_and_others_see_nothing(known: Database) -> None:
    supplier, _ = await known.transact(store.add, a_supplier())

    assert await known.read(store.get, supplier.id, "vera") == supplier
    with pytest.raises(PermissionDenied):
        await known.transact(store.change, supplier.id, "vera", Change(name="x", at_us=2))
    for user_id in ("eve", ""):
        with pytest.raises(NotFound):
            await known.read(store.get, supplier.id, user_id)
    await known.transact(store.set_member, "vera", "company", None)
    with pytest.raises(NotFound):
        await known.read(store.get, supplier.id, "vera")


async def test_a_page_has_what_is_asked_for(known: Database) -> None:
    made = [
        (await known.transact(store.add, a_supplier(str(n), favourite=n == 1)))[0].id
        for n in range(3)
    ]
    await known.transact(store.remove, made[2], "ana", 2)

    async def ids(**asked: Any) -> list[str]:
        wanted: dict[str, Any] = {"user_id": "vera", "before": LAST, "size": 9}
        query = Query(**(wanted | asked))
        return [supplier.id for supplier in await known.read(store.page, query)]

    assert await ids() == [made[1], made[0]]
    assert await ids(with_removed=True) == made[::-1]
    assert await ids(only_favourites=True) == [made[1]]
    assert await ids(company_id="other") == []
    assert await ids(company_id="company", before=made[1]) == [made[0]]
