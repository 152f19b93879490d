"""Where codes are kept, and what pays the charge behind one."""

from __future__ import annotations

from dataclasses import dataclass

from bank.pix.v1 import events_pb2 as events
from mesh.db import Row, UnitOfWork, sql
from mesh.errors import AlreadyExists, FailedPrecondition
from services import wire
from services.money import Money

from ..domain import codes
from ..domain.codes import Code, CodeKind, CodeStatus
from ..domain.payments import Deposit
from . import copies

ADD = sql(
    "INSERT INTO qr_codes (id, account_id, kind, status, br_code, pix_key, merchant_name,"
    " merchant_city, txid, minor_units, currency, description, token, location, expires_at_us,"
    " deposit_id, end_to_end_id, requested_by, request_id, created_at_us) VALUES (:id, :account,"
    " :kind, 'active', :br_code, :key, :name, :city, :txid, :minor_units, :currency, :description,"
    " :token, :location, :expires_at, '', '', :requested_by, :request_id, :created_at)"
    " ON CONFLICT DO NOTHING"
)
REPEATED = sql("SELECT * FROM qr_codes WHERE requested_by = :user AND request_id = :request_id")
VISIBLE = (
    "SELECT qr_codes.*, may_act FROM qr_codes JOIN accounts ON accounts.id = account_id"
    " JOIN memberships USING (company_id) WHERE user_id = :user AND may_act IS NOT NULL"
)
GET = sql(f"{VISIBLE} AND qr_codes.id = :id")
PAGE = sql(
    f"{VISIBLE} AND qr_codes.id < :before AND CAST(:account AS text) IN ('', account_id)"
    " ORDER BY qr_codes.id DESC LIMIT :size"
)
BY_TOKEN = sql("SELECT * FROM qr_codes WHERE token = :token")
CANCEL = sql(
    "UPDATE qr_codes SET status = 'cancelled' WHERE id = :id AND status = 'active'"
    " AND deposit_id = ''"
)
# A charge is paid once: whoever comes first has it, until that payment fails.
RESERVE = sql(
    "UPDATE qr_codes SET deposit_id = :deposit WHERE account_id = :account AND txid = :txid"
    " AND kind = 'dynamic' AND status = 'active' AND deposit_id = '' AND expires_at_us > :now"
    " AND minor_units = :minor_units AND currency = :currency"
)
CHARGE = sql(
    "SELECT 1 AS found FROM qr_codes WHERE account_id = :account AND txid = :txid"
    " AND kind = 'dynamic'"
)
LET_GO = sql("UPDATE qr_codes SET deposit_id = '' WHERE deposit_id = :deposit")
PAY = sql(
    "UPDATE qr_codes SET status = 'paid', end_to_end_id = :end_to_end_id"
    " WHERE deposit_id = :deposit RETURNING id"
)
SIGNING_KEY = sql("SELECT pem FROM signing_keys WHERE id = 1")
KEEP_SIGNING_KEY = sql(
    "INSERT INTO signing_keys (id, kid, pem) VALUES (1, :kid, :pem) ON CONFLICT (id) DO NOTHING"
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Query:
    """Which codes are asked for: those before an id, of an account or of all the user's."""

    user_id: str
    account_id: str = ""
    before: str
    size: int


async def add(work: UnitOfWork, made: Code) -> tuple[Code, bool]:
    """Keeps a code, or finds the one that was asked for before; tells it and if it is new."""
    kept = await work.execute(
        ADD,
        id=made.id,
        account=made.account,
        kind=made.kind,
        br_code=made.br_code,
        key=made.key,
        name=made.name,
        city=made.city,
        txid=made.txid,
        minor_units=made.amount.minor_units,
        currency=made.amount.currency,
        description=made.description,
        token=made.token,
        location=made.location,
        expires_at=made.expires_at_us,
        requested_by=made.requested_by,
        request_id=made.request_id,
        created_at=made.created_at_us,
    )
    if kept:
        return made, True
    row = await work.fetch_one(REPEATED, user=made.requested_by, request_id=made.request_id)
    if row is None:
        raise AlreadyExists("TXID_TAKEN", "The account has a code with this txid.")
    earlier = to_code(row)
    earlier.must_be_asked(made)
    return earlier, False


async def get(work: UnitOfWork, code_id: str, user_id: str) -> Code:
    """Reads a code of an account of one of the user's companies."""
    row = await work.fetch_one(GET, id=code_id, user=user_id)
    if row is None:
        raise codes.no_such_code()
    return to_code(row)


async def page(work: UnitOfWork, query: Query) -> list[Code]:
    rows = await work.fetch_all(
        PAGE,
        user=query.user_id,
        account=query.account_id,
        before=query.before,
        size=query.size,
    )
    return [to_code(row) for row in rows]


async def by_token(work: UnitOfWork, token: str) -> Code:
    """Reads the code whose charge stands at a place."""
    row = await work.fetch_one(BY_TOKEN, token=token)
    if row is None:
        raise codes.no_such_code()
    return to_code(row)


async def cancel(work: UnitOfWork, code_id: str, user_id: str) -> Code:
    """Withdraws a code, unless its charge is being paid."""
    row = await work.fetch_one(GET, id=code_id, user=user_id)
    if row is None:
        raise codes.no_such_code()
    copies.must_be_allowed(bool(row["may_act"]))
    if row["status"] != CodeStatus.CANCELLED and not await work.execute(CANCEL, id=code_id):
        raise FailedPrecondition("CHARGE_PAID", "The charge was paid.")
    return await get(work, code_id, user_id)


async def reserve(work: UnitOfWork, deposit: Deposit) -> None:
    """Lets a deposit pay the charge that it names. Raises `FailedPrecondition` if it cannot."""
    if not deposit.txid:
        return
    reserved = await work.execute(
        RESERVE,
        deposit=deposit.id,
        account=deposit.account,
        txid=deposit.txid,
        now=deposit.created_at_us,
        minor_units=deposit.amount.minor_units,
        currency=deposit.amount.currency,
    )
    if not reserved and await work.fetch_one(CHARGE, account=deposit.account, txid=deposit.txid):
        raise codes.not_payable()


async def let_go(work: UnitOfWork, deposit: Deposit) -> None:
    """Lets another pay the charge that a deposit has failed to."""
    if deposit.txid:
        await work.execute(LET_GO, deposit=deposit.id)


async def pay(work: UnitOfWork, deposit: Deposit) -> None:
    """Notes that a deposit has paid the charge it names, if it names one, and tells it."""
    if not deposit.txid:
        return
    row = await work.fetch_one(PAY, deposit=deposit.id, end_to_end_id=deposit.end_to_end_id)
    if row is not None:
        work.publish(
            events.PixChargePaid(
                qr_code_id=row["id"],
                txid=deposit.txid,
                account_id=deposit.account,
                deposit_id=deposit.id,
                amount=wire.to_wire(deposit.amount),
                end_to_end_id=deposit.end_to_end_id,
            )
        )


async def signing_key(work: UnitOfWork) -> str | None:
    row = await work.fetch_one(SIGNING_KEY)
    return str(row["pem"]) if row else None


async def keep_signing_key(work: UnitOfWork, kid: str, pem: str) -> str:
    """Keeps a key unless there is one, and gives the one that is kept."""
    await work.execute(KEEP_SIGNING_KEY, kid=kid, pem=pem)
    kept = await signing_key(work)
    assert kept is not None, "it was kept just now"
    return kept


def to_code(row: Row) -> Code:
    return Code(
        id=row["id"],
        account=row["account_id"],
        kind=CodeKind(row["kind"]),
        status=CodeStatus(row["status"]),
        br_code=row["br_code"],
        key=row["pix_key"],
        name=row["merchant_name"],
        city=row["merchant_city"],
        txid=row["txid"],
        amount=Money(row["minor_units"], row["currency"]),
        description=row["description"],
        token=row["token"],
        location=row["location"],
        expires_at_us=row["expires_at_us"],
        end_to_end_id=row["end_to_end_id"],
        requested_by=row["requested_by"],
        request_id=row["request_id"],
        created_at_us=row["created_at_us"],
    )
