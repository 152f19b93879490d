"""The suppliers service over real gRPC, and people who use it, in few words."""

from __future__ import annotations

from typing import Any

from bank.suppliers.v1 import suppliers_pb2 as pb
from bank.suppliers.v1.suppliers_pb2_grpc import SuppliersServiceStub
from bank.users.v1 import events_pb2 as users
from bank.users.v1.users_pb2 import Role
from mesh.ids import new_id
from mesh.testing.harness import Running

CNPJ = "11.222.333/0001-81"
LETTERED = "12.ABC.345/01DE-35"


class Suppliers:
    def __init__(self, service: Running) -> None:
        self.service = service
        self.bff = service.stub(SuppliersServiceStub)
        self.transfers = service.stub(SuppliersServiceStub, workload="transfers")
        self.bakery, self.mill = new_id(), new_id()

    async def give_role(self, user_id: str, company_id: str, role: str) -> None:
        value = Role.Value(f"ROLE_{role}")
        await self.service.tell(
            users.MembershipChanged(company_id=company_id, user_id=user_id, role=value)
        )

    async def add(self, user_id: str = "ana", **asked: Any) -> pb.Supplier:
        request = a_request(**asked)
        with self.service.signed_in(user_id):
            return (await self.bff.CreateSupplier(request)).supplier

    async def get(self, supplier_id: str, user_id: str = "ana") -> pb.Supplier:
        with self.service.signed_in(user_id):
            request = pb.GetSupplierRequest(supplier_id=supplier_id)
            return (await self.bff.GetSupplier(request)).supplier

    async def page(self, user_id: str = "ana", **asked: Any) -> pb.ListSuppliersResponse:
        with self.service.signed_in(user_id):
            return await self.bff.ListSuppliers(pb.ListSuppliersRequest(**asked))

    async def listed(self, user_id: str = "ana", **asked: Any) -> list[str]:
        return [each.supplier_id for each in (await self.page(user_id, **asked)).suppliers]

    async def change(self, supplier_id: str, user_id: str = "ana", **changes: Any) -> pb.Supplier:
        with self.service.signed_in(user_id):
            request = pb.UpdateSupplierRequest(supplier_id=supplier_id, **changes)
            return (await self.bff.UpdateSupplier(request)).supplier

    async def remove(self, supplier_id: str, user_id: str = "ana") -> pb.Supplier:
        with self.service.signed_in(user_id):
            request = pb.DeleteSupplierRequest(supplier_id=supplier_id)
            return (await self.bff.DeleteSupplier(request)).supplier

    async def changes(self, supplier_id: str, user_id: str = "ana") -> list[pb.SupplierChange]:
        with self.service.signed_in(user_id):
            request = pb.ListSupplierChangesRequest(supplier_id=supplier_id)
            return list((await self.bff.ListSupplierChanges(request)).changes)

    async def key(self, supplier_id: str) -> pb.GetSupplierKeyResponse:
        return await self.transfers.GetSupplierKey(
            pb.GetSupplierKeyRequest(supplier_id=supplier_id)
        )


def a_request(**asked: Any) -> pb.CreateSupplierRequest:
    usual = {
        "request_id": new_id(),
        "name": "Embalagens Lima",
        "document": CNPJ,
        "pix_key": "Vendas@Embalagens.example",
    }
    return pb.CreateSupplierRequest(**(usual | asked))
