"""Where payments and deposits are kept."""

from __future__ import annotations

from bank.pix.v1 import events_pb2 as events
from mesh.db import Row, UnitOfWork, sql
from mesh.errors import NotFound
from services import wire
from services.money import Money

from .. import sandbox
from ..domain.payments import Deposit, Payment, Status
from ..domain.rail import Kind
from . import codes

# Stored.
DELIVER_PAYMENT = "deliver_payment"
CREDIT_DEPOSIT = "credit_deposit"

KEEP_PAYMENT = sql(
    "INSERT INTO payments (id, pix_key, account_id, minor_units, currency, description,"
    " end_to_end_id, created_at_us, status, rejection_code, payer_account_id, txid, returned)"
    " VALUES (:id, :key, :account, :amount, :currency, :description, :end_to_end_id,"
    " :created_at_us, :status, '', :payer, :txid, 0) ON CONFLICT (id) DO NOTHING"
)
PAYMENT = sql("SELECT * FROM payments WHERE id = :id")
END_PAYMENT = sql("UPDATE payments SET status = :status, rejection_code = :code WHERE id = :id")
KEEP_DEPOSIT = sql(
    "INSERT INTO deposits (id, request_id, account_id, minor_units, currency, description,"
    " end_to_end_id, created_at_us, status, rejection_code, txid, returned) VALUES (:id,"
    " :request_id, :account, :amount, :currency, :description, :end_to_end_id, :created_at_us,"
    " :status, '', :txid, 0) ON CONFLICT DO NOTHING"
)
DEPOSIT = sql("SELECT * FROM deposits WHERE id = :id")
REPEATED_DEPOSIT = sql(
    "SELECT * FROM deposits WHERE request_id = :request_id OR end_to_end_id = :end_to_end_id"
)
END_DEPOSIT = sql("UPDATE deposits SET status = :status, rejection_code = :code WHERE id = :id")


async def find_payment(work: UnitOfWork, payment_id: str) -> Payment | None:
    row = await work.fetch_one(PAYMENT, id=payment_id)
    return to_payment(row) if row else None


async def get_payment(work: UnitOfWork, payment_id: str) -> Payment:
    payment = await find_payment(work, payment_id)
    if payment is None:
        raise NotFound("PAYMENT_NOT_FOUND", "There is no such payment.")
    return payment


async def keep_payment(work: UnitOfWork, payment: Payment) -> Payment:
    """Keeps a payment and starts it, or finds the one that has its id."""
    kept = await work.execute(
        KEEP_PAYMENT,
        id=payment.id,
        key=payment.key,
        account=payment.account,
        amount=payment.amount.minor_units,
        currency=payment.amount.currency,
        description=payment.description,
        end_to_end_id=payment.end_to_end_id,
        created_at_us=payment.created_at_us,
        status=payment.status,
        payer=payment.payer,
        txid=payment.txid,
    )
    if kept:
        if payment.account:
            await codes.reserve(work, payment.as_deposit())
        work.start(DELIVER_PAYMENT, payment.id, entity=payment)
        return payment
    return await get_payment(work, payment.id)


async def finish_payment(work: UnitOfWork, payment: Payment) -> Payment:
    """Keeps how a payment ended, and tells it; so for its other end, if that is here."""
    await work.execute(
        END_PAYMENT, id=payment.id, status=payment.status, code=payment.rejection_code
    )
    if payment.status is Status.REJECTED:
        await codes.let_go(work, payment.as_deposit())
        work.publish(
            events.PixPaymentRejected(payment_id=payment.id, rejection_code=payment.rejection_code)
        )
        return payment
    work.publish(
        events.PixPaymentSettled(payment_id=payment.id, end_to_end_id=payment.end_to_end_id)
    )
    if payment.account:
        deposit = payment.as_deposit().settled()
        await insert_deposit(work, deposit)
        work.publish(received(deposit))
        await codes.pay(work, deposit)
    return payment


async def keep_deposit(work: UnitOfWork, deposit: Deposit) -> tuple[Deposit, bool]:
    """Keeps a deposit and starts it, or finds the one that was asked for before.

    Tells the deposit, and whether it is new.
    """
    if await insert_deposit(work, deposit):
        await codes.reserve(work, deposit)
        amount, now = deposit.amount.minor_units, deposit.created_at_us
        await sandbox.arrive(work, Kind.PAYMENT, deposit.end_to_end_id, "", amount, now)
        work.start(CREDIT_DEPOSIT, deposit.id, entity=deposit)
        return deposit, True
    row = await work.fetch_one(
        REPEATED_DEPOSIT,
        request_id=deposit.request_id,
        end_to_end_id=deposit.end_to_end_id,
    )
    earlier = to_deposit(row)
    deposit.must_repeat(earlier)
    return earlier, False


async def insert_deposit(work: UnitOfWork, deposit: Deposit) -> bool:
    return bool(
        await work.execute(
            KEEP_DEPOSIT,
            id=deposit.id,
            request_id=deposit.request_id,
            account=deposit.account,
            amount=deposit.amount.minor_units,
            currency=deposit.amount.currency,
            description=deposit.description,
            end_to_end_id=deposit.end_to_end_id,
            created_at_us=deposit.created_at_us,
            status=deposit.status,
            txid=deposit.txid,
        )
    )


async def get_deposit(work: UnitOfWork, deposit_id: str) -> Deposit:
    return to_deposit(await work.fetch_one(DEPOSIT, id=deposit_id))


async def finish_deposit(work: UnitOfWork, deposit: Deposit) -> Deposit:
    """Keeps how a deposit ended, and tells it if the money is on the account."""
    await work.execute(
        END_DEPOSIT, id=deposit.id, status=deposit.status, code=deposit.rejection_code
    )
    if deposit.status is Status.SETTLED:
        work.publish(received(deposit))
        await codes.pay(work, deposit)
    else:
        await codes.let_go(work, deposit)
    return deposit


def to_payment(row: Row) -> Payment:
    return Payment(
        id=row["id"],
        key=row["pix_key"],
        account=row["account_id"],
        amount=Money(row["minor_units"], row["currency"]),
        description=row["description"],
        end_to_end_id=row["end_to_end_id"],
        created_at_us=row["created_at_us"],
        status=Status(row["status"]),
        rejection_code=row["rejection_code"],
        payer=row["payer_account_id"],
        txid=row["txid"],
        returned=row["returned"],
    )


def to_deposit(row: Row | None) -> Deposit:
    if row is None:
        raise NotFound("DEPOSIT_NOT_FOUND", "There is no such deposit.")
    return Deposit(
        id=row["id"],
        request_id=row["request_id"],
        account=row["account_id"],
        amount=Money(row["minor_units"], row["currency"]),
        description=row["description"],
        end_to_end_id=row["end_to_end_id"],
        created_at_us=row["created_at_us"],
        status=Status(row["status"]),
        rejection_code=row["rejection_code"],
        txid=row["txid"],
        returned=row["returned"],
    )


def received(deposit: Deposit) -> events.PixReceived:
    return events.PixReceived(
        deposit_id=deposit.id,
        account_id=deposit.account,
        amount=wire.to_wire(deposit.amount),
        end_to_end_id=deposit.end_to_end_id,
        txid=deposit.txid,
    )
