"""What a supplier was paid, and how suppliers are found."""

from __future__ import annotations

import pytest

from bank.money.v1.money_pb2 import Money
from bank.suppliers.v1 import suppliers_pb2 as pb
from bank.transfers.v1 import events_pb2 as transfers
from mesh.errors import NotFound
from mesh.ids import new_id

from .driver import CNPJ, LETTERED, Suppliers


def brl(minor_units: int) -> Money:
    return Money(minor_units=minor_units, currency_code="BRL")


async def created(suppliers: Suppliers, supplier_id: str) -> str:
    transfer_id = new_id()
    await suppliers.service.tell(
        transfers.TransferCreated(
            transfer_id=transfer_id,
            payer_account_id=new_id(),
            amount=brl(100),
            requested_by="ana",
            supplier_id=supplier_id,
        )
    )
    return transfer_id


async def paid(
    suppliers: Suppliers, supplier_id: str, page_size: int = 0, page_token: str = ""
) -> pb.ListSupplierPaymentsResponse:
    request = pb.ListSupplierPaymentsRequest(
        supplier_id=supplier_id, page_size=page_size, page_token=page_token
    )
    with suppliers.service.signed_in("ana"):
        return await suppliers.bff.ListSupplierPayments(request)


async def test_a_suppliers_payments_are_listed_with_what_became_of_them(
    suppliers: Suppliers,
) -> None:
    supplier = await suppliers.add()
    ids = [await created(suppliers, supplier.supplier_id) for _ in range(5)]
    await created(suppliers, "")
    for event in (
        transfers.TransferCompleted(transfer_id=ids[1]),
        transfers.TransferFailed(transfer_id=ids[2]),
        transfers.TransferCancelled(transfer_id=ids[3]),
        transfers.TransferCompleted(transfer_id=ids[4]),
        transfers.TransferReversed(transfer_id=ids[4], returned=brl(30)),
        transfers.TransferCompleted(transfer_id=new_id()),
    ):
        await suppliers.service.tell(event)
    await suppliers.remove(supplier.supplier_id)

    first = await paid(suppliers, supplier.supplier_id, page_size=3)
    rest = await paid(suppliers, supplier.supplier_id, page_token=first.next_page_token)

    listed = [*first.payments, *rest.payments]
    assert [payment.transfer_id for payment in listed] == ids[::-1]
    assert [payment.status for payment in listed] == [
        pb.SUPPLIER_PAYMENT_STATUS_RETURNED,
        pb.SUPPLIER_PAYMENT_STATUS_CANCELLED,
        pb.SUPPLIER_PAYMENT_STATUS_FAILED,
        pb.SUPPLIER_PAYMENT_STATUS_PAID,
        pb.SUPPLIER_PAYMENT_STATUS_PENDING,
    ]
    assert (listed[0].returned, listed[1].returned) == (brl(30), brl(0))
    assert rest.next_page_token == ""


async def test_the_payments_are_the_companys_alone(suppliers: Suppliers) -> None:
    supplier = await suppliers.add("bia")

    with pytest.raises(NotFound):
        await paid(suppliers, supplier.supplier_id)


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("", ["oil", "flour"]),
        ("SÃO JOÃO", ["flour"]),
        ("joao moinho", ["flour"]),
        (CNPJ, ["flour"]),
        ("11222333", ["flour"]),
        ("vendas@", ["oil", "flour"]),
        ("12.abc.345/01de-35", ["oil"]),
        ("100%", ["oil"]),
        ("_", []),
        ("nobody", []),
    ],
)
async def test_suppliers_are_found_by_name_document_and_key(
    suppliers: Suppliers, query: str, found: list[str]
) -> None:
    ids = {
        "flour": (await suppliers.add(name="Moinho São João", document=CNPJ)).supplier_id,
        "oil": (await suppliers.add(name="Óleos 100% Puros", document=LETTERED)).supplier_id,
    }

    assert await suppliers.listed(query=query) == [ids[name] for name in found]
