"""Speaks `bank.users.v1.HoldersService`: whose the accounts of a company are."""

from __future__ import annotations

from dataclasses import dataclass, field

from bank.users.v1 import holders_pb2 as pb
from bank.users.v1.holders_pb2_grpc import HoldersServiceServicer
from mesh.chassis import Chassis
from mesh.db import UnitOfWork, sql
from mesh.errors import NotFound
from mesh.rpc import Context

HOLDER = sql(
    "SELECT legal_name, cnpj, owners.cpf, members.email FROM companies"
    " JOIN users AS owners ON owners.id = owner_id"
    " LEFT JOIN memberships ON company_id = companies.id AND user_id = :user"
    " LEFT JOIN users AS members ON members.id = user_id AND members.status = 'confirmed'"
    " WHERE companies.id = :company"
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Holder:
    """Whose the accounts of a company are, and the proven address of a member of it."""

    legal_name: str = field(repr=False)
    cnpj: str = field(repr=False)
    owner_cpf: str = field(repr=False)
    user_email: str = field(repr=False)


async def get_holder(work: UnitOfWork, company_id: str, user_id: str) -> Holder:
    """Reads the holder of a company, and the address of a user if it is a member of it."""
    row = await work.fetch_one(HOLDER, company=company_id, user=user_id)
    if row is None:
        raise NotFound("COMPANY_NOT_FOUND", "There is no such company.")
    return Holder(
        legal_name=row["legal_name"],
        cnpj=row["cnpj"],
        owner_cpf=row["cpf"],
        user_email=row["email"] or "",
    )


class HoldersApi(HoldersServiceServicer):
    """What the directory of Pix keys must know of a holder."""

    def __init__(self, chassis: Chassis) -> None:
        self.read = chassis.read

    async def GetHolder(
        self, request: pb.GetHolderRequest, context: Context
    ) -> pb.GetHolderResponse:
        holder = await self.read(get_holder, request.company_id, request.user_id)
        return pb.GetHolderResponse(
            legal_name=holder.legal_name,
            cnpj=holder.cnpj,
            owner_cpf=holder.owner_cpf,
            user_email=holder.user_email,
        )
