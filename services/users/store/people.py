"""What is kept about one person: all of it, given to them; or gone."""

from __future__ import annotations

from bank.users.v1 import events_pb2 as events
from mesh.db import UnitOfWork, sql

from .. import credentials
from ..domain import Company, Device, Role, Session, User
from . import companies, users

DEVICES = sql(
    "SELECT name, first_seen_us, last_seen_us FROM devices WHERE user_id = :user"
    " ORDER BY first_seen_us"
)
FORGET_CODES = sql("DELETE FROM codes WHERE user_id = :user")
FORGET_RECOVERY_CODES = sql("DELETE FROM recovery_codes WHERE user_id = :user")
FORGET_DEVICES = sql("DELETE FROM devices WHERE user_id = :user")
FORGET_TOKENS = sql(
    "DELETE FROM refresh_tokens WHERE session_id IN (SELECT id FROM sessions WHERE user_id = :user)"
)
FORGET_DEVICE_NAMES = sql("UPDATE sessions SET device = '' WHERE user_id = :user")
FORGET = (
    FORGET_CODES,
    FORGET_RECOVERY_CODES,
    FORGET_DEVICES,
    FORGET_TOKENS,
    FORGET_DEVICE_NAMES,
)
FORGET_FAILURES = sql("DELETE FROM sign_in_failures WHERE email_key = :email_key")
# The row stays, for what happened names it; nothing in it says who it was.
ERASE = sql(
    "UPDATE users SET sealed_key = '', email = '', full_name = '', cpf = '', password_hash = '',"
    " totp_secret = '', totp_enabled_at_us = NULL, status = 'disabled', staff_since_us = NULL,"
    " email_key = :tombstone, erased_at_us = :now WHERE id = :user AND erased_at_us IS NULL"
)


async def everything(
    work: UnitOfWork, user_id: str, now_us: int
) -> tuple[User, list[tuple[Company, Role]], list[Session], list[Device]]:
    """Reads all that is kept about a user."""
    user = await users.get_user(work, user_id)
    known = await companies.of_user(work, user_id)
    sessions = await credentials.live_sessions(work, user_id, now_us)
    rows = await work.fetch_all(DEVICES, user=user_id)
    devices = [Device(row["name"], row["first_seen_us"], row["last_seen_us"]) for row in rows]
    return user, known, sessions, devices


async def erase(work: UnitOfWork, user_id: str, now_us: int) -> None:
    """Destroys a user's key and all that is personal, ends their sessions, and tells everybody."""
    user = await users.get_user(work, user_id)
    await companies.leave_all(work, user_id)
    await credentials.revoke_all(work, user_id, now_us)
    for forget in FORGET:
        await work.execute(forget, user=user_id)
    await work.execute(FORGET_FAILURES, email_key=user.email_key)
    await work.execute(companies.FORGET_INVITED, email_key=user.email_key)
    if await work.execute(ERASE, user=user_id, tombstone=f"erased {user_id}", now=now_us):
        await users.tell_of_user(work, user_id, events.UserErased(user_id=user_id))
