"""Where returns are kept, and how much of a payment was given back."""

from __future__ import annotations

from dataclasses import dataclass

from bank.pix.v1 import events_pb2 as events
from bank.pix.v1.receipts_pb2 import ReturnReason
from mesh.db import Row, UnitOfWork, sql
from mesh.errors import FailedPrecondition, NotFound, Transient
from mesh.ids import new_id
from services import wire
from services.money import Money

from .. import sandbox
from ..domain import returns
from ..domain.payments import Deposit
from ..domain.payments import Status as PaymentStatus
from ..domain.rail import Kind
from ..domain.returns import Asked, Direction, Original, Return, Status
from . import copies, payments

# Stored.
GIVE_BACK = "give_back"
TAKE_BACK = "take_back"

KEEP = sql(
    "INSERT INTO returns (id, direction, original_id, account_id, requested_by, request_id,"
    " minor_units, currency, reason, description, end_to_end_id, return_end_to_end_id, status,"
    " failure_reason, created_at_us) VALUES (:id, :direction, :original, :account, :requested_by,"
    " :request_id, :amount, :currency, :reason, :description, :end_to_end_id,"
    " :return_end_to_end_id, 'pending', '', :created_at) ON CONFLICT DO NOTHING"
)
GET = sql(
    "SELECT returns.*, payments.payer_account_id AS payer FROM returns LEFT JOIN payments"
    " ON payments.end_to_end_id = returns.end_to_end_id AND payments.account_id <> ''"
    " WHERE returns.id = :id"
)
REPEATED = sql(
    "SELECT *, '' AS payer FROM returns WHERE requested_by = :user AND request_id = :request_id"
)
OF_DEPOSIT = sql(
    "SELECT *, '' AS payer FROM returns WHERE original_id = :id AND direction = 'out'"
    " ORDER BY id DESC LIMIT 100"
)
END = sql(
    "UPDATE returns SET status = :status, failure_reason = :reason"
    " WHERE id = :id AND status = 'pending'"
)
RECEIPT = sql(
    "SELECT deposits.*, may_act FROM deposits JOIN accounts ON accounts.id = account_id"
    " JOIN memberships USING (company_id) WHERE end_to_end_id = :end_to_end_id"
    " AND user_id = :user AND may_act IS NOT NULL AND status = 'settled'"
)
RECEIPTS = sql(
    "SELECT deposits.* FROM deposits JOIN accounts ON accounts.id = account_id"
    " JOIN memberships USING (company_id) WHERE user_id = :user AND may_act IS NOT NULL"
    " AND status = 'settled' AND deposits.id < :before"
    " AND CAST(:account AS text) IN ('', account_id) AND CAST(:txid AS text) IN ('', txid)"
    " ORDER BY deposits.id DESC LIMIT :size"
)
IN_HOUSE = sql(
    "SELECT id, payer_account_id FROM payments"
    " WHERE end_to_end_id = :end_to_end_id AND account_id <> ''"
)
PAYMENT_SENT = sql("SELECT id, status, currency FROM payments WHERE end_to_end_id = :end_to_end_id")
LOCK_PAYMENT = sql("SELECT * FROM payments WHERE id = :id FOR UPDATE")
RESERVE = {
    table: sql(
        f"UPDATE {table} SET returned = returned + :amount"  # noqa: S608
        " WHERE id = :id AND returned + :amount BETWEEN 0 AND minor_units RETURNING returned"
    )
    for table in ("deposits", "payments")
}
RESERVED_BY = {Direction.OUT: "deposits", Direction.IN: "payments"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Query:
    """Which receipts are asked for: those before an id, of an account or of all the user's."""

    user_id: str
    account_id: str = ""
    txid: str = ""
    before: str
    size: int


async def receipt(work: UnitOfWork, end_to_end_id: str, user_id: str) -> Deposit:
    """Reads a payment that came in on an account of one of the user's companies."""
    return payments.to_deposit(await receipt_row(work, end_to_end_id, user_id))


async def receipts(work: UnitOfWork, query: Query) -> list[Deposit]:
    rows = await work.fetch_all(
        RECEIPTS,
        user=query.user_id,
        account=query.account_id,
        txid=query.txid,
        before=query.before,
        size=query.size,
    )
    return [payments.to_deposit(row) for row in rows]


async def of_receipt(work: UnitOfWork, end_to_end_id: str, user_id: str) -> list[Return]:
    deposit = await receipt(work, end_to_end_id, user_id)
    return [to_return(row) for row in await work.fetch_all(OF_DEPOSIT, id=deposit.id)]


async def keep_out(work: UnitOfWork, end_to_end_id: str, asked: Asked) -> tuple[Return, bool]:
    """Keeps what is to be given back and starts it, or finds what was asked for before.

    Tells the return, and whether it is new.
    """
    earlier = await repeated(work, end_to_end_id, asked)
    if earlier is not None:
        return earlier, False
    row = await receipt_row(work, end_to_end_id, asked.requested_by)
    copies.must_be_allowed(bool(row["may_act"]))
    paid_by = await work.fetch_one(IN_HOUSE, end_to_end_id=end_to_end_id)
    if paid_by is not None and not paid_by["payer_account_id"]:
        raise returns.payer_unknown()
    payer = paid_by["payer_account_id"] if paid_by else ""
    given = Return.of(to_original(row, row["account_id"]), asked, Direction.OUT, payer)
    return await start(work, given, asked, GIVE_BACK)


async def keep_in(work: UnitOfWork, payment_id: str, asked: Asked) -> tuple[Return, bool]:
    """Keeps what the other bank gives back of a payment, as the rail brings it."""
    row = await work.fetch_one(LOCK_PAYMENT, id=payment_id)
    if row is None:
        raise NotFound("PAYMENT_NOT_FOUND", "There is no such payment.")
    earlier = await repeated(work, row["end_to_end_id"], asked)
    if earlier is not None:
        return earlier, False
    if not row["payer_account_id"]:
        raise returns.payer_unknown()
    if row["account_id"]:
        raise FailedPrecondition("PAYEE_IN_HOUSE", "No other bank was paid.")
    given = Return.of(to_original(row, row["payer_account_id"]), asked, Direction.IN)
    kept, is_new = await start(work, given, asked, TAKE_BACK)
    if is_new:
        await sandbox.arrive(
            work,
            Kind.RETURN,
            given.return_end_to_end_id,
            given.end_to_end_id,
            given.amount.minor_units,
            given.created_at_us,
        )
    return kept, is_new


async def keep_played(work: UnitOfWork, played: sandbox.PlayedReturn, now_us: int) -> None:
    """Keeps what the sandbox was told by a key to give back, once the payment is settled."""
    row = await work.fetch_one(PAYMENT_SENT, end_to_end_id=played.end_to_end_id)
    if row is None or row["status"] == PaymentStatus.PENDING:
        raise Transient("PAYMENT_PENDING", "The payment is not settled yet.")
    part = Money(played.minor_units, row["currency"]) if played.minor_units else None
    asked = Asked(
        id=new_id(),
        requested_by="",
        request_id=played.end_to_end_id,
        amount=part,
        reason=played.code,
        now_us=now_us,
    )
    await keep_in(work, row["id"], asked)


async def start(work: UnitOfWork, given: Return, asked: Asked, saga: str) -> tuple[Return, bool]:
    kept = await work.execute(
        KEEP,
        id=given.id,
        direction=given.direction,
        original=given.original_id,
        account=given.account,
        requested_by=given.requested_by,
        request_id=given.request_id,
        amount=given.amount.minor_units,
        currency=given.amount.currency,
        reason=given.reason,
        description=given.description,
        end_to_end_id=given.end_to_end_id,
        return_end_to_end_id=given.return_end_to_end_id,
        created_at=given.created_at_us,
    )
    if not kept:
        earlier = await repeated(work, given.end_to_end_id, asked)
        assert earlier is not None, "an id is in the way, and is of no return"
        return earlier, False
    # The constraint is the last word: two who ask at once are not both right.
    await reserve(work, given, given.amount.minor_units)
    work.start(saga, given.id, entity=given)
    return given, True


async def reserve(work: UnitOfWork, given: Return, minor_units: int) -> int:
    """Notes how much was given back of the original, and tells how much it is by now."""
    table = RESERVED_BY[given.direction]
    row = await work.fetch_one(RESERVE[table], id=given.original_id, amount=minor_units)
    if row is None:
        raise FailedPrecondition("RETURN_EXCEEDS_PAYMENT", "So much is not left of it.")
    return int(row["returned"])


async def repeated(work: UnitOfWork, end_to_end_id: str, asked: Asked) -> Return | None:
    if asked.request_id is None:
        return None
    row = await work.fetch_one(REPEATED, user=asked.requested_by, request_id=asked.request_id)
    if row is None:
        return None
    earlier = to_return(row)
    earlier.must_be_asked(asked, end_to_end_id)
    return earlier


async def get(work: UnitOfWork, return_id: str) -> Return:
    row = await work.fetch_one(GET, id=return_id)
    if row is None:
        raise NotFound("RETURN_NOT_FOUND", "There is no such return.")
    return to_return(row)


async def finish_out(work: UnitOfWork, given: Return) -> Return:
    """Keeps how a return of ours ended, and tells it; to the payer too, if that is here."""
    await work.execute(END, id=given.id, status=given.status, reason=given.failure_reason)
    if given.status is Status.FAILED:
        await reserve(work, given, -given.amount.minor_units)
        work.publish(failed(given))
        return given
    work.publish(given_back(given))
    if given.payer:
        paid = await work.fetch_one(IN_HOUSE, end_to_end_id=given.end_to_end_id)
        assert paid is not None, "a payment that was made is never removed"
        row = await work.fetch_one(
            RESERVE["payments"], id=paid["id"], amount=given.amount.minor_units
        )
        assert row is not None, "no more is given back than was paid"
        work.publish(taken_back(given, paid["id"], row["returned"]))
    return given


async def finish_in(work: UnitOfWork, given: Return) -> Return:
    """Keeps how another bank's return ended, and tells it if the money is back."""
    await work.execute(END, id=given.id, status=given.status, reason=given.failure_reason)
    if given.status is Status.FAILED:
        await reserve(work, given, -given.amount.minor_units)
        return given
    returned = await reserve(work, given, 0)
    work.publish(taken_back(given, given.original_id, returned))
    return given


async def receipt_row(work: UnitOfWork, end_to_end_id: str, user_id: str) -> Row:
    row = await work.fetch_one(RECEIPT, end_to_end_id=end_to_end_id, user=user_id)
    if row is None:
        raise returns.no_such_receipt()
    return row


def to_original(row: Row, account: str) -> Original:
    return Original(
        id=row["id"],
        account=account,
        amount=Money(row["minor_units"], row["currency"]),
        returned=row["returned"],
        end_to_end_id=row["end_to_end_id"],
        settled=row["status"] == PaymentStatus.SETTLED,
        created_at_us=row["created_at_us"],
    )


def to_return(row: Row) -> Return:
    return Return(
        id=row["id"],
        direction=Direction(row["direction"]),
        original_id=row["original_id"],
        account=row["account_id"],
        payer=row["payer"] or "",
        requested_by=row["requested_by"],
        request_id=row["request_id"],
        amount=Money(row["minor_units"], row["currency"]),
        reason=row["reason"],
        description=row["description"],
        end_to_end_id=row["end_to_end_id"],
        return_end_to_end_id=row["return_end_to_end_id"],
        created_at_us=row["created_at_us"],
        status=Status(row["status"]),
        failure_reason=row["failure_reason"],
    )


def reason_to_wire(reason: str) -> ReturnReason.ValueType:
    return ReturnReason.Value(f"RETURN_REASON_{reason}")


def given_back(given: Return) -> events.PixReceiptReturned:
    return events.PixReceiptReturned(
        deposit_id=given.original_id,
        return_id=given.id,
        account_id=given.account,
        amount=wire.to_wire(given.amount),
        end_to_end_id=given.return_end_to_end_id,
        reason=reason_to_wire(given.reason),
        requested_by=given.requested_by,
    )


def failed(given: Return) -> events.PixReceiptReturnFailed:
    return events.PixReceiptReturnFailed(
        deposit_id=given.original_id,
        return_id=given.id,
        account_id=given.account,
        amount=wire.to_wire(given.amount),
        failure_reason=given.failure_reason,
        requested_by=given.requested_by,
    )


def taken_back(given: Return, payment_id: str, returned: int) -> events.PixPaymentReturned:
    return events.PixPaymentReturned(
        payment_id=payment_id,
        return_id=given.id,
        amount=wire.to_wire(given.amount),
        end_to_end_id=given.return_end_to_end_id,
        reason=reason_to_wire(given.reason),
        returned=wire.to_wire(Money(returned, given.amount.currency)),
    )
