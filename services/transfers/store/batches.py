"""Where batches are kept, and what became of each line."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from mesh.clock import now_us
from mesh.db import Row, UnitOfWork, sql
from mesh.errors import NotFound, PermissionDenied, Refused
from mesh.ids import new_id
from services.money import Money

from ..domain.batches import Batch, Line, Result, total
from ..domain.terms import Limit
from ..domain.transfers import Account, Status, Supplier, Transfer
from . import copies, terms, transfers

# Stored.
WORK_THROUGH = "work_through"

KEEP = sql(
    "INSERT INTO batches (id, requested_by, request_id, company_id, payer_account_id,"
    " created_at_us, digest, lines) VALUES (:id, :requested_by, :request_id, :company, :payer,"
    " :created_at_us, :digest, :lines) ON CONFLICT (requested_by, request_id) DO NOTHING"
)
KEEP_LINE = sql(
    "INSERT INTO batch_lines (batch_id, line, payee_account_id, pix_key, supplier_id,"
    " minor_units, currency, description, status, reason, message, transfer_id)"
    " VALUES (:batch, :line, :payee, :pix_key, :supplier, :amount, :currency, :description,"
    " :status, :reason, :message, '')"
)
LOAD = sql("SELECT * FROM batches WHERE id = :id")
REPEATED = sql("SELECT * FROM batches WHERE requested_by = :user AND request_id = :request_id")
GET = sql(
    "SELECT batches.* FROM batches JOIN memberships USING (company_id)"
    " WHERE id = :id AND user_id = :user AND may_pay IS NOT NULL"
)
PAGE = sql(
    "SELECT * FROM batches WHERE id < :before AND company_id IN"
    " (SELECT company_id FROM memberships WHERE user_id = :user AND may_pay IS NOT NULL)"
    " ORDER BY id DESC LIMIT :size"
)
COUNTS = sql(
    "SELECT status, COUNT(*) AS lines FROM batch_lines WHERE batch_id = :batch GROUP BY status"
)
PENDING = sql(
    "SELECT * FROM batch_lines WHERE batch_id = :batch AND status = 'pending' ORDER BY line"
)
RESULTS = sql(
    "SELECT line, batch_lines.status, reason, message, batch_lines.minor_units,"
    " batch_lines.currency, transfer_id, transfers.status AS transfer_status, failure_reason"
    " FROM batch_lines LEFT JOIN transfers ON transfers.id = transfer_id"
    " WHERE batch_lines.batch_id = :batch ORDER BY line"
)
ACCEPTED = sql(
    "UPDATE batch_lines SET status = 'accepted', transfer_id = :transfer"
    " WHERE batch_id = :batch AND line = :line AND status = 'pending'"
)
REFUSED = sql(
    "UPDATE batch_lines SET status = 'refused', reason = :reason, message = :message"
    " WHERE batch_id = :batch AND line = :line AND status = 'pending'"
)


async def accept(
    work: UnitOfWork,
    asked: Batch,
    lines: Sequence[Line],
    learned: Iterable[Account] = (),
    step_up: Refused | None = None,
) -> tuple[Batch, bool]:
    """Keeps a batch and starts it, or finds the one that was asked for before."""
    for account in learned:
        await copies.learn(work, account, asked.requested_by)
    accounts = await copies.accounts_of(work, asked.requested_by, asked.payer)
    payer = accounts.get(asked.payer)
    if payer is None or payer.may_pay is None:
        raise NotFound("ACCOUNT_NOT_FOUND", "There is no such account.")
    earlier = await repeated(work, asked)
    if earlier is not None:
        return earlier, False
    if not payer.may_pay:
        raise PermissionDenied("ROLE_MAY_NOT_PAY", "Your role does not allow you to pay.")
    holding = await terms.terms_of(work, payer.company_id, asked.requested_by, now_us())
    if step_up is not None and total(lines) > holding.most(Limit.WITHOUT_STEP_UP):
        raise step_up
    kept = await work.execute(
        KEEP,
        id=asked.id,
        requested_by=asked.requested_by,
        request_id=asked.request_id,
        company=payer.company_id,
        payer=asked.payer,
        created_at_us=asked.created_at_us,
        digest=asked.digest,
        lines=len(lines),
    )
    if kept:
        await work.execute_many(KEEP_LINE, [to_row(asked.id, line) for line in lines])
        work.start(WORK_THROUGH, asked.id)
    found = await repeated(work, asked)
    assert found is not None
    return found, kept > 0


async def repeated(work: UnitOfWork, asked: Batch) -> Batch | None:
    row = await work.fetch_one(REPEATED, user=asked.requested_by, request_id=asked.request_id)
    if row is None:
        return None
    earlier = await counted(work, row)
    asked.must_repeat(earlier)
    return earlier


async def pending(work: UnitOfWork, batch_id: str) -> list[Line]:
    """Reads the lines that wait for their turn."""
    return [to_line(row) for row in await work.fetch_all(PENDING, batch=batch_id)]


async def make(
    work: UnitOfWork,
    batch: Batch,
    line: Line,
    learned: Iterable[Account] = (),
    supplier: Supplier | None = None,
) -> Transfer:
    """Makes the transfer of a line, once. Raises its refusal."""
    asked = payment(batch, line)
    asked = asked.to(supplier) if line.supplier_id else asked
    transfer, _ = await transfers.accept(work, asked, learned, supplier)
    await work.execute(ACCEPTED, batch=batch.id, line=line.number, transfer=transfer.id)
    return transfer


async def refuse(work: UnitOfWork, batch: Batch, line: Line, refusal: Refused) -> None:
    """Keeps why a line becomes no transfer."""
    await work.execute(
        REFUSED,
        batch=batch.id,
        line=line.number,
        reason=refusal.reason,
        message=refusal.message,
    )


async def load(work: UnitOfWork, batch_id: str) -> Batch:
    return await counted(work, await work.fetch_one(LOAD, id=batch_id))


async def finish(work: UnitOfWork, batch: Batch) -> Batch:
    """There is nothing left to keep: each line has its answer."""
    return await load(work, batch.id)


async def get(work: UnitOfWork, batch_id: str, user_id: str) -> tuple[Batch, list[Result]]:
    """Reads a batch of one of the user's companies, and what became of its lines."""
    batch = await counted(work, await work.fetch_one(GET, id=batch_id, user=user_id))
    rows = await work.fetch_all(RESULTS, batch=batch_id)
    return batch, [to_result(row) for row in rows]


async def page(work: UnitOfWork, user_id: str, before: str, size: int) -> list[Batch]:
    """Reads batches of the user's companies, the newest first."""
    rows = await work.fetch_all(PAGE, user=user_id, before=before, size=size)
    return [await counted(work, row) for row in rows]


def payment(batch: Batch, line: Line) -> Transfer:
    """Makes the transfer of a line. Its request id is derived: it is asked for once."""
    return Transfer(
        id=new_id(),
        requested_by=batch.requested_by,
        request_id=f"{batch.id}:{line.number}",
        payer=batch.payer,
        payee=line.payee,
        pix_key=line.pix_key,
        supplier_id=line.supplier_id,
        amount=line.amount,
        description=line.description,
        created_at_us=now_us(),
        scheduled_for_us=None,
        status=Status.PENDING,
        batch=batch.id,
    )


async def counted(work: UnitOfWork, row: Row | None) -> Batch:
    """Makes a batch of its row, with how far its lines have come."""
    if row is None:
        raise NotFound("BATCH_NOT_FOUND", "There is no such batch.")
    counts = await work.fetch_all(COUNTS, batch=row["id"])
    return to_batch(row, {count["status"]: count["lines"] for count in counts})


def to_row(batch_id: str, line: Line) -> dict[str, object]:
    refusal = line.refusal
    return {
        "batch": batch_id,
        "line": line.number,
        "payee": line.payee,
        "pix_key": line.pix_key,
        "supplier": line.supplier_id,
        "amount": line.amount.minor_units,
        "currency": line.amount.currency,
        "description": line.description,
        "status": "refused" if refusal else "pending",
        "reason": refusal.reason if refusal else "",
        "message": refusal.message if refusal else "",
    }


def to_batch(row: Row, counts: Mapping[str, int]) -> Batch:
    return Batch(
        id=row["id"],
        requested_by=row["requested_by"],
        request_id=row["request_id"],
        payer=row["payer_account_id"],
        created_at_us=row["created_at_us"],
        digest=row["digest"],
        lines=row["lines"],
        pending=counts.get("pending", 0),
        accepted=counts.get("accepted", 0),
        refused=counts.get("refused", 0),
    )


def to_line(row: Row) -> Line:
    return Line(
        number=row["line"],
        payee=row["payee_account_id"],
        pix_key=row["pix_key"],
        supplier_id=row["supplier_id"],
        amount=Money(row["minor_units"], row["currency"]),
        description=row["description"],
    )


def to_result(row: Row) -> Result:
    status = row["transfer_status"]
    return Result(
        number=row["line"],
        status=row["status"],
        reason=row["reason"],
        message=row["message"],
        amount=Money(row["minor_units"], row["currency"]),
        transfer_id=row["transfer_id"],
        transfer_status=None if status is None else Status(status),
        failure_reason=row["failure_reason"] or "",
    )
