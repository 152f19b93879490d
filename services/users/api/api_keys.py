"""Speaks `bank.users.v1.ApiKeysService`: the keys by which programs act for a company."""

from __future__ import annotations

from bank.users.v1 import api_keys_pb2 as pb
from bank.users.v1.api_keys_pb2_grpc import ApiKeysServiceServicer
from mesh.chassis import Chassis
from mesh.clock import now_us
from mesh.rpc import Context, caller

from .. import credentials
from ..domain import plans
from ..domain.plans import ApiKey, Plan
from ..store import api_keys, companies
from .people import to_time


class ApiKeysApi(ApiKeysServiceServicer):
    """The door to a company's keys."""

    def __init__(self, chassis: Chassis) -> None:
        self.transact = chassis.transact
        self.read = chassis.read

    async def must_be_owner(self, company_id: str) -> str:
        """Gives the user's id, if they act for the company and their role allows the call."""
        me = caller().must_be_user()
        role = await self.read(companies.role_of, company_id, me.user_id)
        caller().must_be(role.value)
        return me.user_id

    async def CreateApiKey(
        self, request: pb.CreateApiKeyRequest, context: Context
    ) -> pb.CreateApiKeyResponse:
        user_id = await self.must_be_owner(request.company_id)
        secret = plans.new_secret()
        key = ApiKey(
            company_id=request.company_id,
            name=request.name,
            digest=credentials.digest(secret),
            prefix=secret[: plans.SHOWN],
            scopes=tuple(request.scopes),
            plan=plan_of(request.plan),
            created_by=user_id,
            created_at_us=now_us(),
        )
        await self.transact(api_keys.add, key)
        return pb.CreateApiKeyResponse(key=to_wire(key, now_us()), secret=secret)

    async def ListApiKeys(
        self, request: pb.ListApiKeysRequest, context: Context
    ) -> pb.ListApiKeysResponse:
        await self.must_be_owner(request.company_id)
        found = await self.read(api_keys.of_company, request.company_id)
        return pb.ListApiKeysResponse(keys=[to_wire(key, now_us()) for key in found])

    async def DeleteApiKey(
        self, request: pb.DeleteApiKeyRequest, context: Context
    ) -> pb.DeleteApiKeyResponse:
        await self.must_be_owner(request.company_id)
        await self.transact(api_keys.revoke, request.company_id, request.key_id, now_us())
        return pb.DeleteApiKeyResponse()


def plan_of(plan: pb.UsagePlan) -> Plan:
    per_second = plan.per_second or plans.PER_SECOND
    return Plan(
        per_second=per_second,
        burst=plan.burst or 2 * per_second,
        daily_quota=plan.daily_quota,
        monthly_quota=plan.monthly_quota,
    )


def to_wire(key: ApiKey, now: int) -> pb.ApiKey:
    used = key.used(0, now)
    return pb.ApiKey(
        key_id=key.id,
        company_id=key.company_id,
        name=key.name,
        prefix=key.prefix,
        scopes=key.scopes,
        plan=pb.UsagePlan(
            per_second=key.plan.per_second,
            burst=key.plan.burst,
            daily_quota=key.plan.daily_quota,
            monthly_quota=key.plan.monthly_quota,
        ),
        created_at=to_time(key.created_at_us),
        last_used_at=to_time(key.last_used_us) if key.last_used_us else None,
        used_today=used.used_today,
        used_this_month=used.used_this_month,
    )
