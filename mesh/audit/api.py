"""Speaks `meshapi.v1.AuditService`."""

# gRPC names its methods in CamelCase.
# ruff: noqa: N802

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from google.protobuf.timestamp_pb2 import Timestamp

from mesh.clock import now_us
from mesh.db import Database, Row, UnitOfWork, sql
from mesh.rpc.context import Context
from meshapi.v1 import audit_pb2 as pb
from meshapi.v1.audit_pb2_grpc import AuditServiceServicer

from .chain import GENESIS, Flaw, Head, Walk

__all__ = ["AuditApi"]

UNIT: Final = 500
UNITS: Final = 20
"""How many records are read from one snapshot, and how many snapshots one call reads."""

MOST_TOLD: Final = 100
MOST_WAITED_US: Final = 60_000_000

COLUMNS: Final = (
    "id, at_us, actor_id, session_id, workload, method, subject_id, company_id, outcome, reason,"
    " trace_id, digest, number, previous, seal"
)
SEALED = sql(
    f"SELECT {COLUMNS} FROM audit WHERE number > :after ORDER BY number LIMIT :limit"  # noqa: S608
)
UNSEALED = sql("SELECT id, at_us FROM audit WHERE number IS NULL ORDER BY id")
FOUND = sql(
    f"SELECT {COLUMNS} FROM audit WHERE id < :before AND at_us >= :since AND at_us < :until"  # noqa: S608
    " AND (CAST(:actor AS text) = '' OR actor_id = :actor)"
    " AND (CAST(:subject AS text) = '' OR subject_id = :subject)"
    " AND (CAST(:company AS text) = '' OR company_id = :company)"
    " AND (CAST(:method AS text) = '' OR method = :method OR method LIKE :ending ESCAPE '!')"
    " ORDER BY id DESC LIMIT :limit"
)

_MAX = (1 << 63) - 1


class AuditApi(AuditServiceServicer):
    """Shows the audit of the service."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def VerifyAudit(
        self, request: pb.VerifyAuditRequest, context: Context
    ) -> pb.VerifyAuditResponse:
        walk = Walk(_head(request.after), _head(request.pinned))
        flaws: list[Flaw] = []
        is_end = False
        for _ in range(UNITS):
            count = await self._database.read(_look, walk, flaws)
            is_end = count < UNIT
            if is_end:
                break
        waiting: Sequence[Row] = []
        if is_end:
            flaws += walk.end()
            waiting = await self._database.read(_waiting)
            flaws += _forgotten(waiting)
        return pb.VerifyAuditResponse(
            flaws=[
                pb.AuditFlaw(number=each.number, row_id=each.row_id, sentence=each.sentence)
                for each in flaws[:MOST_TOLD]
            ],
            head=pb.AuditHead(number=walk.head.number, seal=walk.head.seal),
            looked_at=walk.looked_at,
            is_end=is_end,
            waiting=len(waiting),
        )

    async def SearchAudit(
        self, request: pb.SearchAuditRequest, context: Context
    ) -> pb.SearchAuditResponse:
        rows = await self._database.read(_search, request)
        return pb.SearchAuditResponse(records=map(_told, rows))


async def _look(work: UnitOfWork, walk: Walk, flaws: list[Flaw]) -> int:
    rows = await work.fetch_all(SEALED, after=walk.head.number, limit=UNIT)
    flaws += walk.over(rows)
    return len(rows)


async def _waiting(work: UnitOfWork) -> list[Row]:
    return await work.fetch_all(UNSEALED)


def _forgotten(rows: Sequence[Row]) -> list[Flaw]:
    before = now_us() - MOST_WAITED_US
    return [
        Flaw(0, row["id"], "it should have had its seal long ago")
        for row in rows
        if row["at_us"] < before
    ]


async def _search(work: UnitOfWork, request: pb.SearchAuditRequest) -> list[Row]:
    ending = request.method.replace("!", "!!").replace("%", "!%").replace("_", "!_")
    return await work.fetch_all(
        FOUND,
        before=request.before_row_id or _MAX,
        since=request.since.ToMicroseconds() if request.HasField("since") else 0,
        until=request.until.ToMicroseconds() if request.HasField("until") else _MAX,
        actor=request.actor_id,
        subject=request.subject_id,
        company=request.company_id,
        method=request.method,
        ending=f"%/{ending}",
        limit=request.page_size or 50,
    )


def _head(head: pb.AuditHead) -> Head:
    return Head(head.number, head.seal or GENESIS)


def _told(row: Row) -> pb.AuditRecord:
    at = Timestamp()
    at.FromMicroseconds(row["at_us"])
    return pb.AuditRecord(
        row_id=row["id"],
        number=row["number"] or 0,
        at=at,
        actor_id=row["actor_id"],
        session_id=row["session_id"],
        workload=row["workload"],
        method=row["method"],
        subject_id=row["subject_id"],
        company_id=row["company_id"],
        outcome=row["outcome"],
        reason=row["reason"],
        trace_id=row["trace_id"],
    )
