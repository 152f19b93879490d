"""What is told again of companies: who may do what for them now."""

from __future__ import annotations

from collections.abc import Sequence

from bank.users.v1 import events_pb2 as events
from bank.users.v1.users_pb2 import Role
from mesh.clock import now_us
from mesh.db import UnitOfWork, sql
from mesh.events.backfill import Fact, Facts

MEMBERS = sql(
    "SELECT user_id, company_id, role FROM (SELECT user_id, company_id, role FROM memberships"
    " UNION ALL SELECT id, company_id, CASE WHEN scopes LIKE '%write%' THEN 'operator'"
    " ELSE 'viewer' END FROM api_keys WHERE revoked_at_us IS NULL) AS members"
    " WHERE company_id > :company OR (company_id = :company AND user_id > :user)"
    " ORDER BY company_id, user_id LIMIT :most"
)


async def members(work: UnitOfWork, after: str, most: int) -> Sequence[Fact]:
    company, _, user = after.partition("/")
    return [
        Fact(
            event=events.MembershipChanged(
                company_id=row["company_id"],
                user_id=row["user_id"],
                role=Role.Value(f"ROLE_{row['role'].upper()}"),
            ),
            version=0,
            time_us=now_us(),
            mark=f"{row['company_id']}/{row['user_id']}",
        )
        for row in await work.fetch_all(MEMBERS, company=company, user=user, most=most)
    ]


FACTS = (Facts(of=events.MembershipChanged, page=members),)
