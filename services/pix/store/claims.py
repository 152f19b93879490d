"""Where claims are kept; what one does to the keys at both its ends is done in its transaction."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

from bank.pix.v1 import events_pb2 as events
from bank.pix.v1.keys_pb2 import PixClaimKind, PixClaimStatus
from mesh.db import Row, UnitOfWork, sql
from mesh.errors import AlreadyExists, FailedPrecondition

from .. import sandbox
from ..domain import keys
from ..domain.keys import Claim, ClaimKind, ClaimStatus, KeyStatus, Reason, RegisteredKey, Side
from . import copies
from . import keys as keys_store

# Stored: what becomes of a claim when a period ends.
ACKNOWLEDGE_CLAIM = "acknowledge_claim"
RESOLVE_CLAIM = "resolve_claim"
LAPSE_CLAIM = "lapse_claim"

ADD = sql(
    "INSERT INTO claims (id, key_id, pix_key, kind, status, claimer_account_id, donor_account_id,"
    " requested_by, request_id, confirm_reason, cancel_reason, created_at_us) VALUES (:id, :key_id,"
    " :key, :kind, :status, :claimer, :donor, :requested_by, :request_id, '', '', :created_at)"
    " ON CONFLICT DO NOTHING"
)
REPEATED = sql("SELECT * FROM claims WHERE requested_by = :user AND request_id = :request_id")
LOAD = sql("SELECT * FROM claims WHERE id = :id")
LOCK = sql("SELECT * FROM claims WHERE id = :id FOR UPDATE")
SAVE = sql(
    "UPDATE claims SET status = :status, confirm_reason = :confirm_reason,"
    " cancel_reason = :cancel_reason, created_at_us = :created_at WHERE id = :id"
)
SIDES = sql(
    "SELECT accounts.id, may_act FROM accounts JOIN memberships USING (company_id)"
    " WHERE user_id = :user AND may_act IS NOT NULL AND accounts.id IN (:claimer, :donor)"
)
PAGE = sql(
    "SELECT * FROM claims WHERE id < :before AND EXISTS (SELECT 1 FROM accounts"
    " JOIN memberships USING (company_id) WHERE user_id = :user AND may_act IS NOT NULL"
    " AND accounts.id IN (claimer_account_id, donor_account_id)) ORDER BY id DESC LIMIT :size"
)

OWN = sql(
    "SELECT * FROM keys WHERE account_id = :account AND pix_key = :key"
    " AND status IN ('active', 'suspended')"
)

Step = Callable[[Claim], Claim]


async def claim(
    work: UnitOfWork, asked: Claim, key_id: str, is_elsewhere: bool
) -> tuple[Claim, bool]:
    """Claims a key for an account of ours; tells the claim and if it is new."""
    row = await work.fetch_one(REPEATED, user=asked.requested_by, request_id=asked.request_id)
    if row is not None:
        earlier = to_claim(row)
        if earlier.key_id != key_id:
            raise AlreadyExists("REQUEST_ID_TAKEN", "This request id names another claim.")
        return earlier, False
    key, _ = await keys_store.to_act_on(work, key_id, asked.requested_by)
    kind = key.claim_kind()
    ours = await keys_store.active(work, key.value)
    if ours is None and not is_elsewhere:
        raise FailedPrecondition("KEY_IS_FREE", "Nobody has the key; register it.")
    donor = ours.account if ours else ""
    made = replace(asked, key_id=key.id, key=key.value, kind=kind, claimer=key.account, donor=donor)
    return await add(work, made), True


async def claim_from_outside(work: UnitOfWork, asked: Claim) -> Claim:
    """Lets another bank's customer claim a key of ours."""
    ours = await keys_store.active(work, asked.key)
    if ours is None:
        raise keys.no_such_key()
    kinds = keys.PORTABLE if asked.kind is ClaimKind.PORTABILITY else keys.CHANGES_HANDS
    if ours.kind not in kinds:
        raise FailedPrecondition("KEY_NOT_CLAIMABLE", "A key of this kind is not claimed so.")
    return await add(work, replace(asked, donor=ours.account))


async def add(work: UnitOfWork, made: Claim) -> Claim:
    kept = await work.execute(
        ADD,
        id=made.id,
        key_id=made.key_id,
        key=made.key,
        kind=made.kind,
        status=made.status,
        claimer=made.claimer,
        donor=made.donor,
        requested_by=made.requested_by,
        request_id=made.request_id,
        created_at=made.created_at_us,
    )
    if not kept:
        raise AlreadyExists("KEY_CLAIMED", "A claim on the key runs.")
    work.start(ACKNOWLEDGE_CLAIM, made.id, entity=made)
    work.start(RESOLVE_CLAIM, made.id, at_us=made.resolution_ends_us)
    work.start(LAPSE_CLAIM, made.id, at_us=made.lapses_us)
    work.publish(told(made))
    return made


async def load(work: UnitOfWork, claim_id: str) -> Claim:
    row = await work.fetch_one(LOAD, id=claim_id)
    if row is None:
        raise keys.no_such_claim()
    return to_claim(row)


async def get(work: UnitOfWork, claim_id: str, user_id: str) -> Claim:
    """Reads a claim of which one of the user's companies is a side."""
    found = await load(work, claim_id)
    await sides(work, found, user_id)
    return found


async def page(work: UnitOfWork, user_id: str, before: str, size: int) -> list[Claim]:
    rows = await work.fetch_all(PAGE, user=user_id, before=before, size=size)
    return [to_claim(row) for row in rows]


async def sides(work: UnitOfWork, found: Claim, user_id: str) -> dict[Side, bool]:
    """Tells which sides of a claim are the user's, and whether the user may act for them."""
    rows = await work.fetch_all(SIDES, user=user_id, claimer=found.claimer, donor=found.donor)
    allowed = {row["id"]: bool(row["may_act"]) for row in rows}
    accounts = {Side.CLAIMER: found.claimer, Side.DONOR: found.donor}
    mine = {side: allowed[account] for side, account in accounts.items() if account in allowed}
    if not mine:
        raise keys.no_such_claim()
    return mine


async def act(
    work: UnitOfWork, claim_id: str, user_id: str, side: Side | None, step: Callable[..., Claim]
) -> Claim:
    """Lets a user do what one side of a claim may; `side` None is whichever is the user's."""
    found = await load(work, claim_id)
    mine = await sides(work, found, user_id)
    spoken = side or next(iter(mine))
    if spoken not in mine:
        raise keys.not_your_part()
    copies.must_be_allowed(mine[spoken])
    return await move(work, claim_id, step if side else partial(step, side=spoken))


async def move(work: UnitOfWork, claim_id: str, step: Step) -> Claim:
    """Takes a claim a step further, with what follows for the keys, and tells it."""
    row = await work.fetch_one(LOCK, id=claim_id)
    if row is None:
        raise keys.no_such_claim()
    before = to_claim(row)
    after = step(before)
    if after == before:
        return before
    await work.execute(
        SAVE,
        id=after.id,
        status=after.status,
        confirm_reason=after.confirm_reason,
        cancel_reason=after.cancel_reason,
        created_at=after.created_at_us,
    )
    if after.status is not before.status:
        await let_go(work, before, after)
        work.publish(told(after))
    return after


async def let_go(work: UnitOfWork, before: Claim, after: Claim) -> None:
    """Moves the key as its claim says. A key is let go before another is given it."""
    donor = await key_of(work, after.donor, after.key)
    claimer = await keys_store.load(work, after.key_id) if after.key_id else None
    if after.status is ClaimStatus.CONFIRMED and donor:
        await keys_store.set_status(work, donor, KeyStatus.SUSPENDED)
    if after.status is ClaimStatus.COMPLETED:
        if donor:
            await keys_store.set_status(work, donor, KeyStatus.REMOVED, moved=True)
        await sandbox.leave(work, after.key)
        if claimer:
            await keys_store.set_status(work, claimer, KeyStatus.ACTIVE)
        else:
            await sandbox.enter(work, after.key, sandbox.a_stranger(after.key))
    if after.status is ClaimStatus.CANCELLED and before.status is ClaimStatus.CONFIRMED and donor:
        await keys_store.set_status(work, donor, KeyStatus.ACTIVE)


async def key_of(work: UnitOfWork, account: str, value: str) -> RegisteredKey | None:
    row = await work.fetch_one(OWN, account=account, key=value)
    return keys_store.to_key(row) if row else None


async def acknowledge(work: UnitOfWork, waited: Claim) -> Claim:
    return await move(work, waited.id, Claim.acknowledged)


async def resolve(work: UnitOfWork, waited: Claim) -> Claim:
    return await move(work, waited.id, Claim.unanswered)


async def lapse(work: UnitOfWork, waited: Claim) -> Claim:
    return await move(work, waited.id, Claim.lapsed)


def after_a_period(found: Claim) -> Claim:
    """Lets the period end that runs now, as if the claim had been made so much earlier."""
    if found.status in keys.UNANSWERED:
        return replace(found, created_at_us=found.created_at_us - keys.RESOLUTION_US).unanswered()
    return replace(found, created_at_us=found.created_at_us - keys.OBJECTION_US)


def to_claim(row: Row) -> Claim:
    return Claim(
        id=row["id"],
        key_id=row["key_id"],
        key=row["pix_key"],
        kind=ClaimKind(row["kind"]),
        claimer=row["claimer_account_id"],
        donor=row["donor_account_id"],
        requested_by=row["requested_by"],
        request_id=row["request_id"],
        created_at_us=row["created_at_us"],
        status=ClaimStatus(row["status"]),
        confirm_reason=Reason(row["confirm_reason"]),
        cancel_reason=Reason(row["cancel_reason"]),
    )


def told(made: Claim) -> events.PixClaimChanged:
    return events.PixClaimChanged(
        claim_id=made.id,
        kind=PixClaimKind.Value(f"PIX_CLAIM_KIND_{made.kind.name}"),
        status=PixClaimStatus.Value(f"PIX_CLAIM_STATUS_{made.status.name}"),
        claimer_account_id=made.claimer,
        donor_account_id=made.donor,
    )
