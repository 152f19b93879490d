"""Where API keys are kept, and told of: to other services a key is a member of its company."""

from __future__ import annotations

from bank.users.v1 import events_pb2 as events
from bank.users.v1.users_pb2 import ROLE_UNSPECIFIED
from bank.users.v1.users_pb2 import Role as WireRole
from mesh.db import Row, UnitOfWork, sql

from ..domain import plans
from ..domain.plans import ApiKey, Plan
from . import companies

ADD = sql(
    "INSERT INTO api_keys (id, company_id, name, digest, prefix, scopes, per_second, burst,"
    " daily_quota, monthly_quota, created_by, created_at_us, day, used_today, month,"
    " used_this_month) VALUES (:id, :company, :name, :digest, :prefix, :scopes, :per_second,"
    " :burst, :daily_quota, :monthly_quota, :created_by, :now, 0, 0, 0, 0)"
)
KEYS = sql(
    "SELECT * FROM api_keys WHERE company_id = :company AND revoked_at_us IS NULL ORDER BY id DESC"
)
KEY = sql("SELECT * FROM api_keys WHERE id = :id AND revoked_at_us IS NULL FOR UPDATE")
OF_DIGEST = sql("SELECT * FROM api_keys WHERE digest = :digest AND revoked_at_us IS NULL")
REVOKE = sql(
    "UPDATE api_keys SET revoked_at_us = :now WHERE id = :id AND company_id = :company"
    " AND revoked_at_us IS NULL"
)
COUNT = sql(
    "UPDATE api_keys SET day = :day, used_today = :used_today, month = :month,"
    " used_this_month = :used_this_month, last_used_us = :last_used WHERE id = :id"
)


async def add(work: UnitOfWork, key: ApiKey) -> None:
    """Keeps a key, and tells what it is for the company."""
    await companies.lock(work, key.company_id)
    if len(await of_company(work, key.company_id)) >= plans.MOST_KEYS:
        raise plans.too_many_keys()
    await work.execute(
        ADD,
        id=key.id,
        company=key.company_id,
        name=key.name,
        digest=key.digest,
        prefix=key.prefix,
        scopes=" ".join(key.scopes),
        per_second=key.plan.per_second,
        burst=key.plan.burst,
        daily_quota=key.plan.daily_quota,
        monthly_quota=key.plan.monthly_quota,
        created_by=key.created_by,
        now=key.created_at_us,
    )
    await tell(work, key.company_id, key.id, WireRole.Value(f"ROLE_{key.role.name}"))


async def tell(work: UnitOfWork, company_id: str, key_id: str, role: WireRole.ValueType) -> None:
    changed = events.MembershipChanged(company_id=company_id, user_id=key_id, role=role)
    await companies.tell(work, company_id, changed)


async def of_company(work: UnitOfWork, company_id: str) -> list[ApiKey]:
    return [to_key(row) for row in await work.fetch_all(KEYS, company=company_id)]


async def find(work: UnitOfWork, digest: str) -> ApiKey | None:
    """Finds the key that a secret is of, unless it was revoked."""
    row = await work.fetch_one(OF_DIGEST, digest=digest)
    return to_key(row) if row else None


async def count(work: UnitOfWork, key_id: str, uses: int, now_us: int) -> ApiKey | None:
    """Counts uses; gives the key, unless it was revoked."""
    row = await work.fetch_one(KEY, id=key_id)
    if row is None:
        return None
    key = to_key(row).used(uses, now_us)
    await work.execute(
        COUNT,
        id=key.id,
        day=key.day,
        used_today=key.used_today,
        month=key.month,
        used_this_month=key.used_this_month,
        last_used=key.last_used_us,
    )
    return key


async def revoke(work: UnitOfWork, company_id: str, key_id: str, now_us: int) -> None:
    """Revokes a key, as a session is ended: its tokens are refused at once, everywhere."""
    if await work.execute(REVOKE, id=key_id, company=company_id, now=now_us):
        await tell(work, company_id, key_id, ROLE_UNSPECIFIED)
        # Nothing else is ever told of a key by its own id.
        ended = events.SessionsRevoked(user_id=key_id, session_ids=[key_id])
        work.publish(ended, version=1)


def to_key(row: Row) -> ApiKey:
    return ApiKey(
        id=row["id"],
        company_id=row["company_id"],
        name=row["name"],
        digest=row["digest"],
        prefix=row["prefix"],
        scopes=tuple(row["scopes"].split()),
        plan=Plan(
            per_second=row["per_second"],
            burst=row["burst"],
            daily_quota=row["daily_quota"],
            monthly_quota=row["monthly_quota"],
        ),
        created_by=row["created_by"],
        created_at_us=row["created_at_us"],
        last_used_us=row["last_used_us"],
        is_revoked=row["revoked_at_us"] is not None,
        day=row["day"],
        used_today=row["used_today"],
        month=row["month"],
        used_this_month=row["used_this_month"],
    )
