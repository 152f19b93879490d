"""Speaks `bank.users.v1.StaffService`: what staff and operators do about people and keys."""

from __future__ import annotations

from bank.users.v1 import staff_pb2 as pb
from bank.users.v1.staff_pb2_grpc import StaffServiceServicer
from mesh.chassis import Chassis
from mesh.clock import now_us
from mesh.rpc import Context

from .. import credentials, domain
from ..domain import SECOND_US, Status, User
from ..store import companies, users
from ..vault import Vault
from .people import to_company, to_time, to_wire
from .tokens import TokenKeysApi

# How long a new key is known before it signs: twice what verifiers keep what they know for.
LEAD_US = 60 * SECOND_US


class StaffApi(StaffServiceServicer):
    """The door for the bank's own people."""

    def __init__(self, chassis: Chassis, vault: Vault, tokens: TokenKeysApi) -> None:
        self.transact = chassis.transact
        self.read = chassis.read
        self.vault = vault
        self.tokens = tokens

    async def GetUser(self, request: pb.GetUserRequest, context: Context) -> pb.GetUserResponse:
        user = self.vault.opened(await self.read(users.get_user, request.user_id))
        known = await self.read(companies.of_user, user.id)
        return pb.GetUserResponse(
            user=to_wire(user), companies=[to_company(*each) for each in known]
        )

    async def DisableUser(
        self, request: pb.DisableUserRequest, context: Context
    ) -> pb.DisableUserResponse:
        await self.transact(credentials.disable, request.user_id, now_us())
        return pb.DisableUserResponse()

    async def EnableUser(
        self, request: pb.EnableUserRequest, context: Context
    ) -> pb.EnableUserResponse:
        await self.transact(credentials.enable, request.user_id)
        return pb.EnableUserResponse()

    async def CreateStaffUser(
        self, request: pb.CreateStaffUserRequest, context: Context
    ) -> pb.CreateStaffUserResponse:
        user = User(
            email=request.email,
            email_key=self.vault.index(domain.email_key(request.email)),
            full_name=request.full_name,
            cpf="",
            password_hash="",
            status=Status.CONFIRMED,
            is_staff=True,
        )
        await self.transact(users.add_staff, self.vault.sealed(user), now_us())
        return pb.CreateStaffUserResponse(user=to_wire(user))

    async def SetUserDisabled(
        self, request: pb.SetUserDisabledRequest, context: Context
    ) -> pb.SetUserDisabledResponse:
        if request.disabled:
            await self.transact(credentials.disable, request.user_id, now_us())
        else:
            await self.transact(credentials.enable, request.user_id)
        return pb.SetUserDisabledResponse()

    async def RotateTokenKey(
        self, request: pb.RotateTokenKeyRequest, context: Context
    ) -> pb.RotateTokenKeyResponse:
        lead_us = request.lead.ToMicroseconds() if request.HasField("lead") else LEAD_US
        key, signs_from_us = await self.tokens.rotate(lead_us)
        return pb.RotateTokenKeyResponse(kid=key.kid or "", signs_from=to_time(signs_from_us))
