"""What proves who somebody is: hashed secrets, sessions, tokens, and the keys that sign them."""

from __future__ import annotations

import asyncio
import hashlib
import json
import secrets
from collections.abc import Callable
from typing import TypeVar

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerifyMismatchError
from joserfc import jwt
from joserfc.jwk import ECKey
from pydantic import Field as Setting
from pydantic_settings import BaseSettings, SettingsConfigDict
from sqlalchemy import BigInteger, Index, Integer, Text
from sqlmodel import Field

from bank.users.v1 import events_pb2 as events
from mesh.auth.tokens import (
    ALGORITHM,
    AUDIENCE,
    INTERNAL_AUDIENCE,
    INTERNAL_TYPE,
    ISSUER,
    TOKEN_TYPE,
    bound_to,
)
from mesh.db import UnitOfWork, sql
from mesh.errors import Overloaded
from mesh.ids import new_id
from mesh.rpc import User as TokenUser

from . import domain, store
from .domain import SECOND_US, Failures, IssuedCode, Session, User

T = TypeVar("T")

ACCESS_TOKEN_LIFE_S = 900
INTERNAL_TOKEN_LIFE_S = 300

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


class Passwords:
    """Hashes what people remember or type, with argon2id (RFC 9106), off the event loop."""

    def __init__(self, settings: Argon2Settings) -> None:
        self._hasher = PasswordHasher(settings.time_cost, settings.memory_kib, settings.parallelism)
        self._threads = asyncio.Semaphore(settings.threads)
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
            async with self._threads:
                return await asyncio.to_thread(work)
        finally:
            self._room += 1


class SessionRow(store.Table, table=True):
    """A session: the family of all refresh tokens that came from one sign-in."""

    __tablename__ = "sessions"
    __table_args__ = (Index("sessions_user", "user_id"),)

    id: str = Field(primary_key=True, sa_type=Text)
    user_id: str = Field(sa_type=Text, foreign_key="users.id")
    began_at_us: int = Field(sa_type=BigInteger)
    totp_step: int = Field(sa_type=BigInteger)
    second_factor_at_us: int = Field(
        default=0, sa_type=BigInteger, sa_column_kwargs={"server_default": "0"}
    )
    revoked_at_us: int | None = Field(default=None, sa_type=BigInteger)


class RefreshTokenRow(store.Table, table=True):
    """A refresh token, as a digest. One that was traded is kept, to be known if it comes again."""

    __tablename__ = "refresh_tokens"
    __table_args__ = (Index("refresh_tokens_session", "session_id"),)

    digest: str = Field(primary_key=True, sa_type=Text)
    session_id: str = Field(sa_type=Text, foreign_key="sessions.id")
    traded_at_us: int | None = Field(default=None, sa_type=BigInteger)


class SigningKeyRow(store.Table, table=True):
    """A private key as a JSON Web Key. The number keeps two processes from adding the same one."""

    __tablename__ = "signing_keys"

    number: int = Field(
        primary_key=True, sa_type=Integer, sa_column_kwargs={"autoincrement": False}
    )
    private_jwk: str = Field(sa_type=Text)
    created_at_us: int = Field(sa_type=BigInteger)


ADD_SESSION = sql(
    "INSERT INTO sessions (id, user_id, began_at_us, totp_step, second_factor_at_us)"
    " VALUES (:id, :user, :began_at, :totp_step, :second_factor_at)"
)
SESSION = sql("SELECT * FROM sessions WHERE id = :id")
PROVE_AGAIN = sql(
    "UPDATE sessions SET second_factor_at_us = :now WHERE id = :id AND revoked_at_us IS NULL"
)
REVOKE = sql(
    "UPDATE sessions SET revoked_at_us = :now WHERE id = :id AND user_id = :user"
    " AND revoked_at_us IS NULL"
)
REVOKE_ALL = sql(
    "UPDATE sessions SET revoked_at_us = :now WHERE user_id = :user AND revoked_at_us IS NULL"
    " RETURNING id"
)
FORGET_OLD_TOKENS = sql(
    "DELETE FROM refresh_tokens WHERE session_id IN"
    " (SELECT id FROM sessions WHERE user_id = :user AND began_at_us < :ended)"
)
FORGET_OLD_SESSIONS = sql("DELETE FROM sessions WHERE user_id = :user AND began_at_us < :ended")
ADD_TOKEN = sql("INSERT INTO refresh_tokens (digest, session_id) VALUES (:digest, :session)")
TOKEN = sql("SELECT * FROM refresh_tokens WHERE digest = :digest FOR UPDATE")
TRADE = sql("UPDATE refresh_tokens SET traded_at_us = :now WHERE digest = :digest")
SIGNING_KEYS = sql("SELECT private_jwk FROM signing_keys ORDER BY number DESC")
ADD_FIRST_KEY = sql(
    "INSERT INTO signing_keys (number, private_jwk, created_at_us) VALUES (1, :private_jwk, :now)"
    " ON CONFLICT (number) DO NOTHING"
)


async def open_session(work: UnitOfWork, session: Session, token: str) -> None:
    """Keeps a session with its first refresh token."""
    user_id, ended_us = session.user_id, session.began_at_us - domain.SESSION_LIFE_US
    await store.end_failures(work, user_id, session.totp_step)
    await work.execute(FORGET_OLD_TOKENS, user=user_id, ended=ended_us)
    await work.execute(FORGET_OLD_SESSIONS, user=user_id, ended=ended_us)
    await work.execute(
        ADD_SESSION,
        id=session.id,
        user=user_id,
        began_at=session.began_at_us,
        totp_step=session.totp_step,
        second_factor_at=session.second_factor_at_us,
    )
    await work.execute(ADD_TOKEN, digest=digest(token), session=session.id)


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
    return session


async def find_session(work: UnitOfWork, session_id: str) -> Session | None:
    row = await work.fetch_one(SESSION, id=session_id)
    if row is None:
        return None
    return Session(
        id=row["id"],
        user_id=row["user_id"],
        began_at_us=row["began_at_us"],
        totp_step=row["totp_step"],
        second_factor_at_us=row["second_factor_at_us"],
        is_revoked=row["revoked_at_us"] is not None,
    )


async def live_session(
    work: UnitOfWork, session_id: str, now_us: int
) -> tuple[Session, User, Failures]:
    """Gets a session, its user, and what failed for them since. Raises `Unauthenticated`."""
    session = await find_session(work, session_id)
    if session is None or not session.is_live(now_us):
        raise domain.session_ended()
    user = await store.get_user(work, session.user_id)
    _, failures = await store.find_login(work, domain.email_key(user.email))
    return session, user, failures


async def keep_step_up(work: UnitOfWork, session: Session) -> None:
    """Keeps a step-up. Raises `Unauthenticated` if its code was used already."""
    await store.end_failures(work, session.user_id, session.totp_step)
    if not await work.execute(PROVE_AGAIN, id=session.id, now=session.second_factor_at_us):
        raise domain.session_ended()


async def enable_totp(
    work: UnitOfWork, session_id: str, user: User, step: int, now_us: int
) -> None:
    """Ends an enrolment. Its code has proven a second factor to the session that enrolled."""
    await store.enable_totp(work, user, step, now_us)
    await work.execute(PROVE_AGAIN, id=session_id, now=now_us)


async def signed_in(work: UnitOfWork, session_id: str, now_us: int) -> User:
    """Gets the user of a session. Raises `Unauthenticated` when it has ended."""
    session = await find_session(work, session_id)
    if session is None or not session.is_live(now_us):
        raise domain.session_ended()
    return await store.get_user(work, session.user_id)


async def revoke(work: UnitOfWork, user_id: str, session_id: str, now_us: int) -> None:
    """Ends a session. Repeating it changes nothing."""
    if await work.execute(REVOKE, id=session_id, user=user_id, now=now_us):
        event = events.SessionsRevoked(user_id=user_id, session_ids=[session_id])
        await store.tell_of_user(work, user_id, event)


async def revoke_all(work: UnitOfWork, user_id: str, now_us: int) -> None:
    """Ends all sessions of a user. Repeating it changes nothing."""
    rows = await work.fetch_all(REVOKE_ALL, user=user_id, now=now_us)
    if rows:
        ended = [row["id"] for row in rows]
        event = events.SessionsRevoked(user_id=user_id, session_ids=ended)
        await store.tell_of_user(work, user_id, event)


async def reset_password(
    work: UnitOfWork, code: IssuedCode, password_hash: str, now_us: int
) -> None:
    """Sets another password, and signs out everywhere: the old one may be in wrong hands."""
    await store.use_code(work, code)
    await store.set_password(work, code.user_id, password_hash)
    await store.end_failures(work, code.user_id)
    await revoke_all(work, code.user_id, now_us)


async def signing_keys(work: UnitOfWork) -> list[ECKey]:
    """Lists the private keys, the one that signs now first."""
    rows = await work.fetch_all(SIGNING_KEYS)
    return [ECKey.import_key(json.loads(row["private_jwk"])) for row in rows]


async def add_first_key(work: UnitOfWork, now_us: int) -> list[ECKey]:
    """Makes the first key, unless another process was faster; lists them all."""
    key = ECKey.generate_key("P-256", {"kid": new_id(), "use": "sig", "alg": ALGORITHM})
    private_jwk = json.dumps(key.as_dict(private=True))
    await work.execute(ADD_FIRST_KEY, private_jwk=private_jwk, now=now_us)
    return await signing_keys(work)


def access_token(session: Session, key: ECKey, now_us: int) -> str:
    """Makes an access token of a session: a JSON Web Token as in RFC 9068."""
    claims = {
        "aud": AUDIENCE,
        "client_id": "app",
        "sub": session.user_id,
        "sid": session.id,
        "scope": "",
        "auth_time": session.authenticated_at_us // SECOND_US,
        "amr": session.methods(),
    }
    return sign(key, TOKEN_TYPE, claims, now_us, ACCESS_TOKEN_LIFE_S)


def internal_token(user: TokenUser, workload: str, key: ECKey, now_us: int, life_s: int) -> str:
    """Makes the token of a user that one workload can use: what the access token said, bound."""
    claims = {
        "aud": INTERNAL_AUDIENCE,
        "cnf": bound_to(workload),
        "sub": user.user_id,
        "sid": user.session_id,
        "scope": " ".join(sorted(user.scopes)),
        "auth_time": user.authenticated_at,
        "amr": ["pwd"] if user.second_factor_at is None else ["pwd", "otp", "mfa"],
    }
    return sign(key, INTERNAL_TYPE, claims, now_us, life_s)


def sign(key: ECKey, kind: str, claims: dict[str, object], now_us: int, life_s: int) -> str:
    now_s = now_us // SECOND_US
    always = {"iss": ISSUER, "iat": now_s, "exp": now_s + life_s, "jti": new_id()}
    return jwt.encode({"alg": ALGORITHM, "typ": kind, "kid": key.kid}, claims | always, key)


def digest(token: str) -> str:
    """Gives what is kept of a token: nobody guesses 256 bits, so a fast hash is enough."""
    return hashlib.sha256(token.encode()).hexdigest()


def new_refresh_token() -> str:
    return secrets.token_urlsafe(32)


def new_code() -> str:
    """Makes the code that a message carries: six digits."""
    return f"{secrets.randbelow(1_000_000):06}"
