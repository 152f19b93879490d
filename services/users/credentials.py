"""What proves who somebody is: hashed secrets, and the sessions that they open."""

from __future__ import annotations

import asyncio
import hashlib
import os
import secrets
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerifyMismatchError
from pydantic import Field as Setting
from pydantic_settings import BaseSettings, SettingsConfigDict

from bank.users.v1 import events_pb2 as events
from mesh.db import Row, UnitOfWork, sql
from mesh.errors import Overloaded

from . import domain
from .domain import Failures, IssuedCode, Session, Status, User
from .store import users as store

T = TypeVar("T")

# OWASP's password storage cheat sheet, for argon2id with one lane.
LEAST_MEMORY_KIB = 19_456
LEAST_TIME_COST = 2


class Argon2Settings(BaseSettings):
    """What a hash costs, from `USERS_ARGON2_*`; the least that it should, unless said otherwise.

    `threads` hash at once; `queue` may wait for them, and the next is turned away.
    """

    model_config = SettingsConfigDict(env_prefix="USERS_ARGON2_", frozen=True)

    memory_kib: int = Setting(default=LEAST_MEMORY_KIB, ge=64)
    time_cost: int = Setting(default=LEAST_TIME_COST, ge=1)
    parallelism: int = Setting(default=1, ge=1)
    threads: int = Setting(default=2, ge=1)
    queue: int = Setting(default=200, ge=0)

    def must_be_strong(self) -> None:
        """Raises `ValueError` if a hash costs less than it should: no laptop's settings go live."""
        if self.memory_kib * self.time_cost < LEAST_MEMORY_KIB * LEAST_TIME_COST:
            raise ValueError("USERS_ARGON2_* make hashes too cheap for production.")


# Of what a nice process leaves to others: who guesses passwords does not slow anybody down.
NICENESS = 5


def _step_back() -> None:
    """Has the thread wait for the others. On Linux threads have priorities of their own."""
    if sys.platform == "linux":
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)


class Passwords:
    """Hashes what people remember or type, with argon2id (RFC 9106), off the event loop."""

    def __init__(self, settings: Argon2Settings) -> None:
        self._hasher = PasswordHasher(settings.time_cost, settings.memory_kib, settings.parallelism)
        self._threads = ThreadPoolExecutor(settings.threads, "argon2", _step_back)
        self._room = settings.threads + settings.queue
        # Nobody's: compared with when there is no user, so that the answer takes as long.
        self._nobodys = self._hasher.hash(secrets.token_urlsafe())

    async def hash(self, secret: str) -> str:
        return await self._off_the_loop(lambda: self._hasher.hash(secret))

    async def match(self, secret: str, hashed: str | None) -> bool:
        """Says whether a secret is the hashed one. Without a hash it never is, and as slowly."""
        same = await self._off_the_loop(lambda: self._same(hashed or self._nobodys, secret))
        return same and hashed is not None

    def is_outdated(self, hashed: str) -> bool:
        """Says whether a hash was made at other costs than are set now."""
        return self._hasher.check_needs_rehash(hashed)

    def _same(self, hashed: str, secret: str) -> bool:
        try:
            return self._hasher.verify(hashed, secret)
        except (VerifyMismatchError, InvalidHashError):
            return False

    async def _off_the_loop(self, work: Callable[[], T]) -> T:
        if self._room <= 0:
            raise Overloaded("TOO_MANY_SIGN_INS", "Too many are signing in; ask again.")
        self._room -= 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, work)
        finally:
            self._room += 1


ADD_SESSION = sql(
    "INSERT INTO sessions (id, user_id, began_at_us, totp_step, second_factor_at_us, device_key,"
    " device, last_seen_us) VALUES (:id, :user, :began_at, :totp_step, :second_factor_at,"
    " :device_key, :device, :began_at)"
)
SESSION = sql(
    "SELECT sessions.*, users.staff_since_us FROM sessions JOIN users ON users.id = user_id"
    " WHERE sessions.id = :id"
)
SESSIONS = sql(
    "SELECT sessions.*, users.staff_since_us FROM sessions JOIN users ON users.id = user_id"
    " WHERE user_id = :user AND revoked_at_us IS NULL AND began_at_us > :ended"
    " ORDER BY began_at_us DESC, sessions.id DESC"
)
SEEN = sql("UPDATE sessions SET last_seen_us = :now WHERE id = :id")
END_OTHERS = sql(
    "UPDATE sessions SET revoked_at_us = :now WHERE user_id = :user AND id <> :kept"
    " AND revoked_at_us IS NULL RETURNING id"
)
HAS_DEVICES = sql("SELECT 1 AS n FROM devices WHERE user_id = :user LIMIT 1")
SEE_DEVICE = sql(
    "UPDATE devices SET last_seen_us = :now, name = :name"
    " WHERE user_id = :user AND device_key = :device_key"
)
ADD_DEVICE = sql(
    "INSERT INTO devices (user_id, device_key, name, first_seen_us, last_seen_us)"
    " VALUES (:user, :device_key, :name, :now, :now) ON CONFLICT (user_id, device_key) DO NOTHING"
)
ADD_RECOVERY_CODE = sql("INSERT INTO recovery_codes (user_id, digest) VALUES (:user, :digest)")
USE_RECOVERY_CODE = sql("DELETE FROM recovery_codes WHERE user_id = :user AND digest = :digest")
FORGET_RECOVERY_CODES = sql("DELETE FROM recovery_codes WHERE user_id = :user")
PROVE_AGAIN = sql(
    "UPDATE sessions SET second_factor_at_us = :now WHERE id = :id AND revoked_at_us IS NULL"
)
REVOKE = sql(
    "UPDATE sessions SET revoked_at_us = :now WHERE id = :id AND user_id = :user"
    " AND revoked_at_us IS NULL"
)
FORGET_OLD_TOKENS = sql(
    "DELETE FROM refresh_tokens WHERE session_id IN"
    " (SELECT id FROM sessions WHERE user_id = :user AND began_at_us < :ended)"
)
FORGET_OLD_SESSIONS = sql("DELETE FROM sessions WHERE user_id = :user AND began_at_us < :ended")
ADD_TOKEN = sql("INSERT INTO refresh_tokens (digest, session_id) VALUES (:digest, :session)")
TOKEN = sql("SELECT * FROM refresh_tokens WHERE digest = :digest FOR UPDATE")
TRADE = sql("UPDATE refresh_tokens SET traded_at_us = :now WHERE digest = :digest")


async def open_session(work: UnitOfWork, session: Session, token: str) -> None:
    """Keeps a session with its first refresh token."""
    user_id, now_us = session.user_id, session.began_at_us
    ended_us = now_us - domain.SESSION_LIFE_US
    await spend_proof(work, session)
    await work.execute(FORGET_OLD_TOKENS, user=user_id, ended=ended_us)
    await work.execute(FORGET_OLD_SESSIONS, user=user_id, ended=ended_us)
    await work.execute(
        ADD_SESSION,
        id=session.id,
        user=user_id,
        began_at=now_us,
        totp_step=session.totp_step,
        second_factor_at=session.second_factor_at_us,
        device_key=session.device_key,
        device=session.device,
    )
    await work.execute(ADD_TOKEN, digest=digest(token), session=session.id)
    await see_device(work, session)
    for old in (await live_sessions(work, user_id, now_us))[domain.MOST_SESSIONS :]:
        await revoke(work, user_id, old.id, now_us)


async def spend_proof(work: UnitOfWork, session: Session) -> None:
    """Uses up what has proven a second factor, and counts failures from zero again."""
    if session.recovery and not await work.execute(
        USE_RECOVERY_CODE, user=session.user_id, digest=session.recovery
    ):
        raise domain.invalid_totp()
    await store.end_failures(work, session.user_id, session.totp_step)


async def see_device(work: UnitOfWork, session: Session) -> None:
    """Notes the device of a session, and tells of one that is new beside others."""
    user_id, known = session.user_id, {"user": session.user_id, "device_key": session.device_key}
    named = known | {"name": session.device, "now": session.began_at_us}
    if await work.execute(SEE_DEVICE, **named):
        return
    is_first = await work.fetch_one(HAS_DEVICES, user=user_id) is None
    if await work.execute(ADD_DEVICE, **named) and not is_first:
        event = events.NewDeviceSeen(user_id=user_id, session_id=session.id)
        await store.tell_of_user(work, user_id, event)


async def trade(work: UnitOfWork, token: str, next_token: str, now_us: int) -> Session | None:
    """Trades a refresh token for the next, if it is good.

    One that was traded already is in two hands, and nobody knows which are the right ones: the
    session ends.
    """
    row = await work.fetch_one(TOKEN, digest=digest(token))
    session = await find_session(work, row["session_id"]) if row else None
    if row is None or session is None or not session.is_live(now_us):
        return None
    if row["traded_at_us"] is not None:
        await revoke(work, session.user_id, session.id, now_us)
        return None
    await work.execute(TRADE, digest=row["digest"], now=now_us)
    await work.execute(ADD_TOKEN, digest=digest(next_token), session=session.id)
    await work.execute(SEEN, id=session.id, now=now_us)
    return session


async def find_session(work: UnitOfWork, session_id: str) -> Session | None:
    row = await work.fetch_one(SESSION, id=session_id)
    return to_session(row) if row else None


async def live_sessions(work: UnitOfWork, user_id: str, now_us: int) -> list[Session]:
    """Lists the sessions of a user that have not ended, the latest first."""
    ended_us = now_us - domain.SESSION_LIFE_US
    rows = await work.fetch_all(SESSIONS, user=user_id, ended=ended_us)
    return [to_session(row) for row in rows]


async def must_be_live(work: UnitOfWork, session_id: str, now_us: int) -> Session:
    """Gets a session. Raises `Unauthenticated` when it has ended."""
    session = await find_session(work, session_id)
    if session is None or not session.is_live(now_us):
        raise domain.session_ended()
    return session


async def live_session(
    work: UnitOfWork, session_id: str, now_us: int
) -> tuple[Session, User, Failures]:
    """Gets a session, its user, and what failed for them since. Raises `Unauthenticated`."""
    session = await must_be_live(work, session_id, now_us)
    user = await store.get_user(work, session.user_id)
    _, failures = await store.find_login(work, user.email_key)
    return session, user, failures


async def signed_in(work: UnitOfWork, session_id: str, now_us: int) -> User:
    """Gets the user of a session. Raises `Unauthenticated` when it has ended."""
    session = await must_be_live(work, session_id, now_us)
    return await store.get_user(work, session.user_id)


def to_session(row: Row) -> Session:
    return Session(
        id=row["id"],
        user_id=row["user_id"],
        began_at_us=row["began_at_us"],
        totp_step=row["totp_step"],
        second_factor_at_us=row["second_factor_at_us"],
        device_key=row["device_key"],
        device=row["device"],
        last_seen_us=row["last_seen_us"],
        is_staff=row["staff_since_us"] is not None,
        is_revoked=row["revoked_at_us"] is not None,
    )


async def keep_step_up(work: UnitOfWork, session: Session) -> None:
    """Keeps a step-up. Raises `Unauthenticated` if its code was used already."""
    await spend_proof(work, session)
    if not await work.execute(PROVE_AGAIN, id=session.id, now=session.second_factor_at_us):
        raise domain.session_ended()


async def enable_totp(
    work: UnitOfWork, session_id: str, user: User, step: int, codes: Sequence[str], now_us: int
) -> None:
    """Ends an enrolment. Its code has proven a second factor to the session that enrolled."""
    await store.enable_totp(work, user, step, now_us)
    await work.execute(PROVE_AGAIN, id=session_id, now=now_us)
    await keep_recovery_codes(work, user.id, codes)


async def keep_recovery_codes(work: UnitOfWork, user_id: str, digests: Sequence[str]) -> None:
    """Keeps recovery codes, in place of all earlier ones."""
    await work.execute(FORGET_RECOVERY_CODES, user=user_id)
    for code in digests:
        await work.execute(ADD_RECOVERY_CODE, user=user_id, digest=code)


async def remove_totp(work: UnitOfWork, user_id: str) -> None:
    await work.execute(store.REMOVE_TOTP, id=user_id)
    await work.execute(FORGET_RECOVERY_CODES, user=user_id)


async def revoke(work: UnitOfWork, user_id: str, session_id: str, now_us: int) -> None:
    """Ends a session. Repeating it changes nothing."""
    if await work.execute(REVOKE, id=session_id, user=user_id, now=now_us):
        event = events.SessionsRevoked(user_id=user_id, session_ids=[session_id])
        await store.tell_of_user(work, user_id, event)


async def revoke_all(work: UnitOfWork, user_id: str, now_us: int, kept: str = "") -> None:
    """Ends all sessions of a user but the one that is kept. Repeating it changes nothing."""
    rows = await work.fetch_all(END_OTHERS, user=user_id, kept=kept, now=now_us)
    if rows:
        ended = [row["id"] for row in rows]
        event = events.SessionsRevoked(user_id=user_id, session_ids=ended)
        await store.tell_of_user(work, user_id, event)


async def disable(work: UnitOfWork, user_id: str, now_us: int) -> None:
    """Keeps a user from signing in, and ends what they have begun. It may be repeated."""
    for before in (Status.CONFIRMED, Status.PENDING):
        await store.set_status(work, user_id, Status.DISABLED, before)
    await revoke_all(work, user_id, now_us)


async def enable(work: UnitOfWork, user_id: str) -> None:
    """Lets a user sign in again. It may be repeated."""
    await store.set_status(work, user_id, Status.CONFIRMED, Status.DISABLED)


async def change_password(
    work: UnitOfWork, user: User, session_id: str, password_hash: str, now_us: int
) -> None:
    """Sets another password, and ends every other session."""
    await store.set_password(work, user.id, password_hash)
    await store.end_failures(work, user.id)
    await revoke_all(work, user.id, now_us, kept=session_id)


async def reset_password(
    work: UnitOfWork, code: IssuedCode, password_hash: str, now_us: int
) -> None:
    """Sets another password, and signs out everywhere: the old one may be in wrong hands."""
    await store.use_code(work, code)
    await store.set_password(work, code.user_id, password_hash)
    await store.end_failures(work, code.user_id)
    await revoke_all(work, code.user_id, now_us)


def digest(token: str) -> str:
    """Gives what is kept of a token: nobody guesses 256 bits, so a fast hash is enough."""
    return hashlib.sha256(token.encode()).hexdigest()


def new_refresh_token() -> str:
    return secrets.token_urlsafe(32)


def new_code() -> str:
    """Makes the code that a message carries: six digits."""
    return f"{secrets.randbelow(1_000_000):06}"


def new_invitation_code() -> str:
    """Makes the code of an invitation: too long to be guessed, however often."""
    return secrets.token_urlsafe(16)
