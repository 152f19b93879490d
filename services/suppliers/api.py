"""Speaks `bank.suppliers.v1`, and decides nothing."""

from __future__ import annotations

from bank.suppliers.v1 import suppliers_pb2 as pb
from bank.suppliers.v1.suppliers_pb2_grpc import SuppliersServiceServicer
from mesh.chassis import Chassis
from mesh.clock import now_us
from mesh.ids import new_id
from mesh.rpc import Context, caller, mark_replayed
from services import wire
from services.money import Money

from . import domain, store
from .domain import Change, Payment, Query, Saving, Supplier

PAGE_SIZE = 50
MOST_CHANGES = 100
# Comes after every other id.


class SuppliersApi(SuppliersServiceServicer):
    """The door of suppliers."""

    def __init__(self, chassis: Chassis) -> None:
        self.transact = chassis.transact
        self.read = chassis.read

    async def CreateSupplier(
        self, request: pb.CreateSupplierRequest, context: Context
    ) -> pb.CreateSupplierResponse:
        asked = to_supplier(request, user_id())
        supplier, is_new = await self.transact(store.add, asked)
        if not is_new:
            mark_replayed(context)
        return pb.CreateSupplierResponse(supplier=to_wire(supplier))

    async def GetSupplier(
        self, request: pb.GetSupplierRequest, context: Context
    ) -> pb.GetSupplierResponse:
        supplier = await self.read(store.get, request.supplier_id, user_id())
        return pb.GetSupplierResponse(supplier=to_wire(supplier))

    async def ListSuppliers(
        self, request: pb.ListSuppliersRequest, context: Context
    ) -> pb.ListSuppliersResponse:
        size = request.page_size or PAGE_SIZE
        query = Query(
            user_id=user_id(),
            company_id=request.company_id,
            only_favourites=request.only_favourites,
            with_removed=request.with_removed,
            words=domain.words_of(request.query),
            before=wire.page_start(request.page_token),
            size=size + 1,
        )
        found = await self.read(store.page, query)
        page, next_page = wire.part_page(found, size)
        return pb.ListSuppliersResponse(suppliers=map(to_wire, page), next_page_token=next_page)

    async def UpdateSupplier(
        self, request: pb.UpdateSupplierRequest, context: Context
    ) -> pb.UpdateSupplierResponse:
        change = to_change(request)
        supplier = await self.transact(store.change, request.supplier_id, user_id(), change)
        return pb.UpdateSupplierResponse(supplier=to_wire(supplier))

    async def DeleteSupplier(
        self, request: pb.DeleteSupplierRequest, context: Context
    ) -> pb.DeleteSupplierResponse:
        supplier = await self.transact(store.remove, request.supplier_id, user_id(), now_us())
        return pb.DeleteSupplierResponse(supplier=to_wire(supplier))

    async def ListSupplierChanges(
        self, request: pb.ListSupplierChangesRequest, context: Context
    ) -> pb.ListSupplierChangesResponse:
        changes = await self.read(store.savings, request.supplier_id, user_id(), MOST_CHANGES)
        return pb.ListSupplierChangesResponse(changes=map(change_to_wire, changes))

    async def ListSupplierPayments(
        self, request: pb.ListSupplierPaymentsRequest, context: Context
    ) -> pb.ListSupplierPaymentsResponse:
        size, before = request.page_size or PAGE_SIZE, wire.page_start(request.page_token)
        found = await self.read(store.payments, request.supplier_id, user_id(), before, size + 1)
        page, more = found[:size], found[size:]
        return pb.ListSupplierPaymentsResponse(
            payments=map(payment_to_wire, page),
            next_page_token=page[-1].transfer_id if more else "",
        )

    async def GetSupplierKey(
        self, request: pb.GetSupplierKeyRequest, context: Context
    ) -> pb.GetSupplierKeyResponse:
        supplier = await self.read(store.get_active, request.supplier_id)
        return pb.GetSupplierKeyResponse(
            company_id=supplier.company_id,
            pix_key=supplier.pix_key,
            name=supplier.name,
            version=supplier.version,
        )


def user_id() -> str:
    return caller().must_be_user().user_id


def to_supplier(request: pb.CreateSupplierRequest, user_id: str) -> Supplier:
    now = now_us()
    return Supplier(
        id=new_id(),
        company_id=request.company_id,
        created_by=user_id,
        request_id=request.request_id,
        name=domain.called(request.name),
        document=domain.document(request.document),
        pix_key=domain.pix_key(request.pix_key),
        favourite=request.favourite,
        created_at_us=now,
        updated_at_us=now,
    )


def to_change(request: pb.UpdateSupplierRequest) -> Change:
    return Change(
        name=domain.called(request.name) if request.HasField("name") else None,
        pix_key=domain.pix_key(request.pix_key) if request.HasField("pix_key") else None,
        favourite=request.favourite if request.HasField("favourite") else None,
        version=request.version,
        at_us=now_us(),
    )


def to_wire(supplier: Supplier) -> pb.Supplier:
    return pb.Supplier(
        supplier_id=supplier.id,
        company_id=supplier.company_id,
        name=supplier.name,
        document=supplier.document,
        pix_key=supplier.pix_key,
        favourite=supplier.favourite,
        status=pb.SupplierStatus.Value(f"SUPPLIER_STATUS_{supplier.status.name}"),
        version=supplier.version,
        created_at=wire.timestamp(supplier.created_at_us),
        updated_at=wire.timestamp(supplier.updated_at_us),
    )


def change_to_wire(saving: Saving) -> pb.SupplierChange:
    return pb.SupplierChange(
        version=saving.version,
        changed_by=saving.saved_by,
        changed_at=wire.timestamp(saving.saved_at_us),
        name=saving.name,
        pix_key=saving.pix_key,
        favourite=saving.favourite,
        status=pb.SupplierStatus.Value(f"SUPPLIER_STATUS_{saving.status.name}"),
    )


def payment_to_wire(payment: Payment) -> pb.SupplierPayment:
    name = f"SUPPLIER_PAYMENT_STATUS_{payment.status.name}"
    return pb.SupplierPayment(
        transfer_id=payment.transfer_id,
        payer_account_id=payment.payer,
        amount=wire.to_wire(payment.amount),
        status=pb.SupplierPaymentStatus.Value(name),
        returned=wire.to_wire(Money(payment.returned, payment.amount.currency)),
        created_at=wire.timestamp(payment.created_at_us),
    )
