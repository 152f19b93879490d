"""Where keys are kept, the codes that prove them, and how much each user may still look up."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from bank.pix.v1 import events_pb2 as events
from bank.pix.v1.keys_pb2 import PixKeyKind
from mesh.db import Row, UnitOfWork, sql
from mesh.errors import AlreadyExists, FailedPrecondition, Overloaded

from ..domain import keys
from ..domain.keys import KeyStatus, RegisteredKey
from ..domain.payments import KeyKind
from . import copies

RETRY_LOOKUP_S = 30.0

ADD = sql(
    "INSERT INTO keys (id, account_id, kind, pix_key, status, slot, requested_by, request_id,"
    " created_at_us, is_same_holder, code_hash, code_tries_left, code_expires_at_us) VALUES (:id,"
    " :account, :kind, :key, :status, :slot, :requested_by, :request_id, :created_at,"
    " :is_same_holder, '', 0, 0) ON CONFLICT DO NOTHING"
)
REPEATED = sql("SELECT * FROM keys WHERE requested_by = :user AND request_id = :request_id")
LOCK_ACCOUNT = sql("SELECT id FROM accounts WHERE id = :id FOR UPDATE")
SLOTS = sql("SELECT slot FROM keys WHERE account_id = :account AND slot IS NOT NULL")
SAME = sql(
    "SELECT 1 AS found FROM keys WHERE account_id = :account AND pix_key = :key"
    " AND status <> 'removed'"
)
ACTIVE = sql("SELECT * FROM keys WHERE pix_key = :key AND status = 'active'")
VISIBLE = (
    "SELECT keys.*, may_act, company_id FROM keys JOIN accounts ON accounts.id = account_id"
    " JOIN memberships USING (company_id) WHERE user_id = :user AND may_act IS NOT NULL"
)
GET = sql(f"{VISIBLE} AND keys.id = :id")
LOAD = sql("SELECT * FROM keys WHERE id = :id")
PAGE = sql(
    f"{VISIBLE} AND keys.id < :before AND CAST(:account AS text) IN ('', account_id)"
    " AND (status <> 'removed' OR CAST(:with_removed AS boolean)) ORDER BY keys.id DESC LIMIT :size"
)
ACTIVATE = sql(
    "UPDATE keys SET code_hash = '', is_same_holder = :is_same_holder, status = CASE"
    " WHEN CAST(:is_elsewhere AS boolean) OR EXISTS (SELECT 1 FROM keys AS others"
    " WHERE others.pix_key = keys.pix_key AND others.status IN ('active', 'suspended'))"
    " THEN 'taken' ELSE 'active' END WHERE id = :id AND status = 'awaiting_proof' RETURNING *"
)
SET_STATUS = sql(
    "UPDATE keys SET status = :status, slot = CASE WHEN CAST(:is_removed AS boolean) THEN NULL"
    " ELSE slot END WHERE id = :id"
)
KEEP_CODE = sql(
    "UPDATE keys SET code_hash = :code_hash, code_tries_left = :tries,"
    " code_expires_at_us = :expires_at WHERE id = :id AND status = 'awaiting_proof'"
)
TAKE_TRY = sql(
    "UPDATE keys SET code_tries_left = code_tries_left - 1 WHERE id = :id AND code_tries_left > 0"
    " AND code_expires_at_us > :now AND status = 'awaiting_proof' RETURNING code_hash"
)
RUNNING_CLAIM = sql(
    "SELECT 1 AS found FROM claims WHERE pix_key = :key"
    " AND status IN ('open', 'waiting_resolution', 'confirmed')"
    " AND :account IN (claimer_account_id, donor_account_id)"
)
OPEN_BUCKET = sql(
    "INSERT INTO lookups (user_id, tokens, as_of_us) VALUES (:user, :tokens, :now)"
    " ON CONFLICT (user_id) DO NOTHING"
)
BUCKET = sql("SELECT tokens, as_of_us FROM lookups WHERE user_id = :user FOR UPDATE")
KEEP_BUCKET = sql("UPDATE lookups SET tokens = :tokens, as_of_us = :as_of WHERE user_id = :user")


@dataclass(frozen=True, kw_only=True, slots=True)
class Query:
    """Which keys are asked for: those before an id, of an account or of all the user's."""

    user_id: str
    account_id: str = ""
    with_removed: bool = False
    before: str
    size: int


async def add(work: UnitOfWork, asked: RegisteredKey, most: int) -> tuple[RegisteredKey, bool]:
    """Keeps a key, or finds the one that was asked for before; tells it and if it is new."""
    # Who asks for an account's keys at once is served one after the other.
    await work.fetch_one(LOCK_ACCOUNT, id=asked.account)
    earlier = await repeated(work, asked)
    if earlier is not None:
        return earlier, False
    if await work.fetch_one(SAME, account=asked.account, key=asked.value):
        raise AlreadyExists("KEY_EXISTS", "The account has this key.")
    if asked.status is KeyStatus.ACTIVE and await work.fetch_one(ACTIVE, key=asked.value):
        asked = replace(asked, status=KeyStatus.TAKEN)
    rows = await work.fetch_all(SLOTS, account=asked.account)
    slot = keys.free_slot({row["slot"] for row in rows}, most)
    if not await work.execute(ADD, slot=slot, **columns(asked)):
        raise AlreadyExists("KEY_EXISTS", "Somebody registers this key just now.")
    tell_added(work, asked)
    return asked, True


async def repeated(work: UnitOfWork, asked: RegisteredKey) -> RegisteredKey | None:
    row = await work.fetch_one(REPEATED, user=asked.requested_by, request_id=asked.request_id)
    if row is None:
        return None
    earlier = to_key(row)
    earlier.must_be_asked(asked.account, asked.kind, asked.value)
    return earlier


async def get(work: UnitOfWork, key_id: str, user_id: str) -> RegisteredKey:
    """Reads a key of an account of one of the user's companies."""
    return to_key(await visible(work, key_id, user_id))


async def to_act_on(work: UnitOfWork, key_id: str, user_id: str) -> tuple[RegisteredKey, str]:
    """Reads a key that the user may change, and the company whose it is."""
    row = await visible(work, key_id, user_id)
    copies.must_be_allowed(bool(row["may_act"]))
    return to_key(row), str(row["company_id"])


async def visible(work: UnitOfWork, key_id: str, user_id: str) -> Row:
    row = await work.fetch_one(GET, id=key_id, user=user_id)
    if row is None:
        raise keys.no_such_key()
    return row


async def page(work: UnitOfWork, query: Query) -> list[RegisteredKey]:
    rows = await work.fetch_all(
        PAGE,
        user=query.user_id,
        account=query.account_id,
        with_removed=query.with_removed,
        before=query.before,
        size=query.size,
    )
    return [to_key(row) for row in rows]


async def load(work: UnitOfWork, key_id: str) -> RegisteredKey:
    row = await work.fetch_one(LOAD, id=key_id)
    if row is None:
        raise keys.no_such_key()
    return to_key(row)


async def active(work: UnitOfWork, value: str) -> RegisteredKey | None:
    """Finds who of ours is paid under a key."""
    row = await work.fetch_one(ACTIVE, key=value)
    return to_key(row) if row else None


async def account_of_key(work: UnitOfWork, value: str) -> str:
    """Names the account that is paid under a key; empty if none of ours is."""
    found = await active(work, value)
    return found.account if found else ""


async def keep_code(work: UnitOfWork, key_id: str, code_hash: str, now_us: int) -> RegisteredKey:
    """Keeps the code that proves a key, in place of any earlier one."""
    key = await load(work, key_id)
    kept = await work.execute(
        KEEP_CODE,
        id=key_id,
        code_hash=code_hash,
        tries=keys.CODE_TRIES,
        expires_at=now_us + keys.CODE_LIFE_US,
    )
    if not kept:
        raise FailedPrecondition("KEY_NEEDS_NO_PROOF", "The key waits for no code.")
    return key


async def take_try(work: UnitOfWork, key_id: str, now_us: int) -> str:
    """Counts a try, and gives what the code is held against; empty if no try is left."""
    row = await work.fetch_one(TAKE_TRY, id=key_id, now=now_us)
    return str(row["code_hash"]) if row else ""


async def prove(
    work: UnitOfWork, key_id: str, is_elsewhere: bool, is_same_holder: bool
) -> RegisteredKey:
    """Registers a key that was proven, unless somebody else has it."""
    row = await work.fetch_one(
        ACTIVATE, id=key_id, is_elsewhere=is_elsewhere, is_same_holder=is_same_holder
    )
    if row is None:
        return await load(work, key_id)
    key = to_key(row)
    tell_added(work, key)
    return key


async def remove(work: UnitOfWork, key_id: str, user_id: str) -> RegisteredKey:
    """Removes a key, unless a claim on it runs."""
    key, _ = await to_act_on(work, key_id, user_id)
    if key.status is KeyStatus.REMOVED:
        return key
    if await work.fetch_one(RUNNING_CLAIM, key=key.value, account=key.account):
        raise FailedPrecondition("KEY_CLAIMED", "A claim on the key runs.")
    return await set_status(work, key, KeyStatus.REMOVED)


async def set_status(
    work: UnitOfWork, key: RegisteredKey, status: KeyStatus, *, moved: bool = False
) -> RegisteredKey:
    """Changes whether an account is paid under a key, and tells it."""
    is_removed = status is KeyStatus.REMOVED
    await work.execute(SET_STATUS, id=key.id, status=status, is_removed=is_removed)
    if status is KeyStatus.ACTIVE:
        work.publish(registered(key))
    elif status is KeyStatus.REMOVED and key.status in (KeyStatus.ACTIVE, KeyStatus.SUSPENDED):
        work.publish(events.PixKeyRemoved(key_id=key.id, account_id=key.account, moved=moved))
    return replace(key, status=status)


async def charge(work: UnitOfWork, user_id: str, cost: int, now_us: int, least: int = 0) -> None:
    """Takes tokens of a user's bucket. Raises `Overloaded` if it holds less than `least`."""
    await work.execute(OPEN_BUCKET, user=user_id, tokens=keys.BUCKET, now=now_us)
    row = await work.fetch_one(BUCKET, user=user_id)
    assert row is not None, "a bucket that was opened is never removed"
    tokens, as_of_us = keys.refilled(row["tokens"], row["as_of_us"], now_us)
    if tokens < least:
        raise Overloaded(
            "TOO_MANY_LOOKUPS", "Too many keys were looked up; try later.", RETRY_LOOKUP_S
        )
    await work.execute(KEEP_BUCKET, user=user_id, tokens=max(0, tokens - cost), as_of=as_of_us)


def tell_added(work: UnitOfWork, key: RegisteredKey) -> None:
    if key.status is KeyStatus.ACTIVE:
        work.publish(registered(key))
    if key.status is KeyStatus.AWAITING_PROOF:
        work.publish(
            events.PixKeyProofRequested(
                key_id=key.id, account_id=key.account, requested_by=key.requested_by
            )
        )


def registered(key: RegisteredKey) -> events.PixKeyRegistered:
    return events.PixKeyRegistered(
        key_id=key.id,
        account_id=key.account,
        kind=PixKeyKind.Value(f"PIX_KEY_KIND_{key.kind.name}"),
    )


def columns(key: RegisteredKey) -> Mapping[str, object]:
    return {
        "id": key.id,
        "account": key.account,
        "kind": key.kind,
        "key": key.value,
        "status": key.status,
        "requested_by": key.requested_by,
        "request_id": key.request_id,
        "created_at": key.created_at_us,
        "is_same_holder": key.is_same_holder,
    }


def to_key(row: Row) -> RegisteredKey:
    return RegisteredKey(
        id=row["id"],
        account=row["account_id"],
        kind=KeyKind(row["kind"]),
        value=row["pix_key"],
        requested_by=row["requested_by"],
        request_id=row["request_id"],
        created_at_us=row["created_at_us"],
        status=KeyStatus(row["status"]),
        is_same_holder=bool(row["is_same_holder"]),
    )
