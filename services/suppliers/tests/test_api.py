"""The door over real gRPC, with all that the contract promises."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from bank.suppliers.v1 import suppliers_pb2 as pb
from bank.suppliers.v1.events_pb2 import SupplierRemoved, SupplierSaved
from mesh.errors import (
    AlreadyExists,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    Unauthenticated,
)
from mesh.ids import new_id

from .driver import CNPJ, LETTERED, Suppliers, a_request


async def test_a_supplier_is_kept_as_the_directory_knows_it_and_told(suppliers: Suppliers) -> None:
    supplier = await suppliers.add(name="  Embalagens   Lima ", document=LETTERED, favourite=True)

    assert (supplier.name, supplier.document) == ("Embalagens Lima", "12ABC34501DE35")
    assert supplier.pix_key == "vendas@embalagens.example"
    assert (supplier.company_id, supplier.favourite) == (suppliers.bakery, True)
    assert (supplier.status, supplier.version) == (pb.SUPPLIER_STATUS_ACTIVE, 1)
    assert await suppliers.get(supplier.supplier_id) == supplier
    (saved,) = await suppliers.service.told(SupplierSaved)
    assert (saved.key, saved.version) == (supplier.supplier_id, 1)
    assert saved.data == SupplierSaved(
        supplier_id=supplier.supplier_id,
        company_id=suppliers.bakery,
        version=1,
        changed_by="ana",
        key_changed=True,
    )


async def test_a_request_is_one_supplier_however_often_it_is_made(suppliers: Suppliers) -> None:
    request = a_request()
    with suppliers.service.signed_in("ana") as carried:
        answers = await asyncio.gather(*(suppliers.bff.CreateSupplier(request) for _ in range(20)))
    supplier_id = answers[0].supplier.supplier_id
    await suppliers.change(supplier_id, name="Outro nome")

    again = await suppliers.add(**{"request_id": request.request_id})

    assert {answer.supplier.supplier_id for answer in answers} == {supplier_id}
    assert carried.replayed
    assert (again.supplier_id, again.name) == (supplier_id, "Outro nome")
    with pytest.raises(AlreadyExists) as caught:
        await suppliers.add(request_id=request.request_id, pix_key="+5511987654321")
    assert caught.value.reason == "REQUEST_ID_TAKEN"
    assert len(await suppliers.service.told(SupplierSaved)) == 2


async def test_a_company_has_one_supplier_for_a_document(suppliers: Suppliers) -> None:
    first = await suppliers.add()
    await suppliers.add("bia")

    with pytest.raises(AlreadyExists) as caught:
        await suppliers.add(document=CNPJ.replace(".", ""))
    assert caught.value.reason == "SUPPLIER_EXISTS"
    await suppliers.remove(first.supplier_id)
    second = await suppliers.add()
    assert second.supplier_id != first.supplier_id


async def test_what_is_given_is_changed_and_what_is_not_stays(suppliers: Suppliers) -> None:
    supplier = await suppliers.add()

    changed = await suppliers.change(supplier.supplier_id, pix_key="+5511987654321")
    liked = await suppliers.change(supplier.supplier_id, favourite=True, version=2)

    assert (changed.pix_key, changed.name, changed.version) == ("+5511987654321", supplier.name, 2)
    assert (liked.favourite, liked.pix_key, liked.version) == (True, changed.pix_key, 3)
    told = [event.data for event in await suppliers.service.told(SupplierSaved)]
    assert [(each.version, each.key_changed) for each in told] == [(1, True), (2, True), (3, False)]


async def test_a_change_of_what_has_changed_since_is_refused_and_a_repeated_one_is_done(
    suppliers: Suppliers,
) -> None:
    supplier = await suppliers.add()
    changed = await suppliers.change(supplier.supplier_id, name="Um", version=1)

    assert await suppliers.change(supplier.supplier_id, name="Um", version=1) == changed
    with pytest.raises(FailedPrecondition) as caught:
        await suppliers.change(supplier.supplier_id, name="Dois", version=1)
    assert caught.value.reason == "VERSION_MISMATCH"
    assert await suppliers.get(supplier.supplier_id) == changed


async def test_changes_at_once_are_all_in_the_history(suppliers: Suppliers) -> None:
    supplier = await suppliers.add()

    names = [f"Nome {number}" for number in range(10)]
    await asyncio.gather(*(suppliers.change(supplier.supplier_id, name=name) for name in names))

    changes = await suppliers.changes(supplier.supplier_id)
    assert [change.version for change in changes] == list(range(11, 0, -1))
    assert {change.name for change in changes} == {supplier.name, *names}


async def test_a_removed_supplier_is_read_and_no_longer_paid_changed_or_listed(
    suppliers: Suppliers,
) -> None:
    supplier = await suppliers.add()

    removed = [await suppliers.remove(supplier.supplier_id) for _ in range(2)]

    assert removed[0] == removed[1] == await suppliers.get(supplier.supplier_id)
    assert (removed[0].status, removed[0].version) == (pb.SUPPLIER_STATUS_REMOVED, 2)
    assert await suppliers.listed() == []
    assert await suppliers.listed(with_removed=True) == [supplier.supplier_id]
    last, first = await suppliers.changes(supplier.supplier_id)
    assert (last.status, first.status) == (pb.SUPPLIER_STATUS_REMOVED, pb.SUPPLIER_STATUS_ACTIVE)
    assert last.changed_by == "ana"
    assert len(await suppliers.service.told(SupplierRemoved)) == 1
    with pytest.raises(FailedPrecondition, match="removed"):
        await suppliers.change(supplier.supplier_id, name="Outro")
    with pytest.raises(NotFound):
        await suppliers.key(supplier.supplier_id)


async def test_suppliers_are_listed_page_by_page_and_by_what_is_asked(suppliers: Suppliers) -> None:
    documents = ["529.982.247-25", "111.444.777-35", CNPJ, LETTERED, "11.444.777/0001-61"]
    made = [
        (await suppliers.add(document=document, favourite=number % 2 == 0)).supplier_id
        for number, document in enumerate(documents)
    ]
    await suppliers.add("bia")

    first = await suppliers.page(page_size=3)
    rest = await suppliers.listed(page_size=3, page_token=first.next_page_token)

    assert [each.supplier_id for each in first.suppliers] + rest == made[::-1]
    assert await suppliers.listed(only_favourites=True) == [made[4], made[2], made[0]]
    assert await suppliers.listed(company_id=suppliers.mill) == []
    assert await suppliers.listed(company_id=suppliers.bakery) == made[::-1]
    with pytest.raises(InvalidArgument):
        await suppliers.listed(page_token="nonsense")


async def test_another_companys_supplier_is_not_there(suppliers: Suppliers) -> None:
    supplier = await suppliers.add()

    for attempt in (suppliers.get, suppliers.change, suppliers.remove, suppliers.changes):
        for user_id, supplier_id in (("bia", supplier.supplier_id), ("ana", new_id())):
            with pytest.raises(NotFound) as caught:
                await attempt(supplier_id, user_id)
            assert caught.value.reason == "SUPPLIER_NOT_FOUND"
    with pytest.raises(NotFound) as foreign:
        await suppliers.add("bia", company_id=suppliers.bakery)
    with pytest.raises(NotFound):
        await suppliers.add("nobody")
    with pytest.raises(Unauthenticated):
        await suppliers.bff.ListSuppliers(pb.ListSuppliersRequest())
    assert foreign.value.reason == "COMPANY_NOT_FOUND"


async def test_a_role_says_who_reads_and_who_changes(suppliers: Suppliers) -> None:
    supplier = await suppliers.add()
    await suppliers.give_role("vera", suppliers.bakery, "ACCOUNTANT")

    assert await suppliers.get(supplier.supplier_id, "vera") == supplier
    for attempt in (suppliers.change, suppliers.remove):
        with pytest.raises(PermissionDenied):
            await attempt(supplier.supplier_id, "vera")
    with pytest.raises(PermissionDenied):
        await suppliers.add("vera", document=LETTERED)
    await suppliers.give_role("vera", suppliers.bakery, "UNSPECIFIED")
    with pytest.raises(NotFound):
        await suppliers.get(supplier.supplier_id, "vera")


async def test_who_has_two_companies_says_which(suppliers: Suppliers) -> None:
    await suppliers.give_role("ana", suppliers.mill, "OPERATOR")

    with pytest.raises(InvalidArgument) as caught:
        await suppliers.add()
    supplier = await suppliers.add(company_id=suppliers.mill)

    assert [violation.field for violation in caught.value.violations] == ["company_id"]
    assert supplier.company_id == suppliers.mill


@pytest.mark.parametrize(
    ("asked", "field"),
    [
        ({"document": "529.982.247-24"}, "document"),
        ({"document": "00000000000"}, "document"),
        ({"pix_key": "nonsense"}, "pix_key"),
        ({"pix_key": "11987654321"}, "pix_key"),
        ({"name": " \t "}, "name"),
        ({"name": ""}, "name"),
        ({"company_id": "no id"}, "company_id"),
    ],
)
async def test_what_makes_no_sense_is_refused(
    suppliers: Suppliers, asked: dict[str, Any], field: str
) -> None:
    with pytest.raises(InvalidArgument) as caught:
        await suppliers.add(**asked)

    assert [violation.field for violation in caught.value.violations] == [field]
    assert await suppliers.listed() == []


async def test_the_key_is_told_to_transfers_alone(suppliers: Suppliers) -> None:
    supplier = await suppliers.add()

    answer = await suppliers.key(supplier.supplier_id)

    assert (answer.company_id, answer.pix_key) == (suppliers.bakery, supplier.pix_key)
    assert (answer.name, answer.version) == (supplier.name, 1)
    with pytest.raises(PermissionDenied):
        await suppliers.bff.GetSupplierKey(
            pb.GetSupplierKeyRequest(supplier_id=supplier.supplier_id)
        )
    with pytest.raises(NotFound):
        await suppliers.key(new_id())
