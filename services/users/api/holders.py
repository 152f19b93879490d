"""Speaks `bank.users.v1.HoldersService`: whose the accounts of a company are."""

from __future__ import annotations

from bank.users.v1 import holders_pb2 as pb
from bank.users.v1.holders_pb2_grpc import HoldersServiceServicer
from mesh.chassis import Chassis
from mesh.db import UnitOfWork
from mesh.rpc import Context

from ..domain import Company, Status, User
from ..store import companies, users
from ..vault import Vault


class HoldersApi(HoldersServiceServicer):
    """What the directory of Pix keys must know of a holder."""

    def __init__(self, chassis: Chassis, vault: Vault) -> None:
        self.read = chassis.read
        self.vault = vault

    async def GetHolder(
        self, request: pb.GetHolderRequest, context: Context
    ) -> pb.GetHolderResponse:
        company, owner, member = await self.read(holder, request.company_id, request.user_id)
        return pb.GetHolderResponse(
            legal_name=company.legal_name,
            cnpj=company.cnpj,
            owner_cpf=self.vault.opened(owner).cpf,
            user_email=self.vault.opened(member).email if member else "",
        )


async def holder(
    work: UnitOfWork, company_id: str, user_id: str
) -> tuple[Company, User, User | None]:
    """Reads a company, its owner, and the user who was named, if they are a confirmed member."""
    company, owner_id = await companies.get_opened(work, company_id)
    members = [member for member, _ in await companies.members(work, company_id)]
    named = await users.get_user(work, user_id) if user_id in members else None
    is_confirmed = named is not None and named.status is Status.CONFIRMED
    return company, await users.get_user(work, owner_id), named if is_confirmed else None
