"""The keys that sign tokens, how one follows another, and the tokens.

A new key is published at once and signs later; an old one is published until the last token that it
signed has expired. So whoever verifies knows every key before they meet it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from joserfc import jwt
from joserfc.jwk import ECKey

from mesh.auth.keys import PAUSE_S
from mesh.auth.tokens import (
    ALGORITHM,
    AUDIENCE,
    INTERNAL_AUDIENCE,
    INTERNAL_TYPE,
    ISSUER,
    KEY_METHOD,
    TOKEN_TYPE,
    bound_to,
)
from mesh.db import UnitOfWork, sql
from mesh.errors import FailedPrecondition
from mesh.ids import new_id
from mesh.rpc import User as TokenUser

from .domain import SECOND_US, Session
from .vault import Vault

ACCESS_TOKEN_LIFE_S = 900
INTERNAL_TOKEN_LIFE_S = 300

# A key is published for so long after the next one signs: all that it signed has expired by then.
KEPT_US = (ACCESS_TOKEN_LIFE_S + 120) * SECOND_US
MAX_KEYS = 8

# A verifier that has just asked does not ask again for so long: a key that signs sooner might be
# taken for nobody's.
LEAST_LEAD_US = round((PAUSE_S + 1) * SECOND_US)

# Where a sealed key belongs.
SEALED_KEY = "signing key"


@dataclass(frozen=True)
class SigningKey:
    """A private key as it is kept: `sealed`, and from when on it signs."""

    number: int
    sealed: str
    signs_from_us: int


KEYS = sql("SELECT number, private_jwk, signs_from_us FROM signing_keys ORDER BY number DESC")
ADD_KEY = sql(
    "INSERT INTO signing_keys (number, private_jwk, created_at_us, signs_from_us)"
    " VALUES (:number, :sealed, :now, :signs_from) ON CONFLICT (number) DO NOTHING"
)
FORGET_KEY = sql("DELETE FROM signing_keys WHERE number = :number")


async def signing_keys(work: UnitOfWork) -> list[SigningKey]:
    """Lists the keys, the newest first."""
    rows = await work.fetch_all(KEYS)
    return [SigningKey(row["number"], row["private_jwk"], row["signs_from_us"]) for row in rows]


async def add_key(
    work: UnitOfWork, sealed: str, number: int, now_us: int, signs_from_us: int
) -> list[SigningKey]:
    """Adds a key, unless another process was faster; forgets those of no use; lists the others."""
    await work.execute(ADD_KEY, number=number, sealed=sealed, now=now_us, signs_from=signs_from_us)
    known = await signing_keys(work)
    kept = published(known, now_us)
    for key in known:
        if key not in kept:
            await work.execute(FORGET_KEY, number=key.number)
    return kept


def published(keys: list[SigningKey], now_us: int) -> list[SigningKey]:
    """Picks what is published, the newest first: all but those whose every token has expired."""
    return [
        key
        for key, later in zip(keys, [None, *keys], strict=False)
        if later is None or later.signs_from_us + KEPT_US > now_us
    ]


def signing(keys: list[SigningKey], now_us: int) -> SigningKey:
    """Picks the key that signs now: the newest whose time has come."""
    return next((key for key in keys if key.signs_from_us <= now_us), keys[-1])


def must_have_room(keys: list[SigningKey]) -> None:
    """Raises `FailedPrecondition` when so many keys are about that verifiers would not keep one."""
    if len(keys) >= MAX_KEYS:
        raise FailedPrecondition("TOO_MANY_KEYS", "Keys were rotated too often just now.")


def new_key() -> ECKey:
    return ECKey.generate_key("P-256", {"kid": new_id(), "use": "sig", "alg": ALGORITHM})


def seal_key(vault: Vault, key: ECKey) -> str:
    return vault.seal(json.dumps(key.as_dict(private=True)), SEALED_KEY)


def open_key(vault: Vault, key: SigningKey) -> ECKey:
    return ECKey.import_key(json.loads(vault.open(key.sealed, SEALED_KEY)))


def access_token(session: Session, key: ECKey, now_us: int) -> str:
    """Makes an access token of a session: a JSON Web Token as in RFC 9068."""
    claims: dict[str, object] = {
        "aud": AUDIENCE,
        "client_id": "app",
        "sub": session.user_id,
        "sid": session.id,
        "scope": " ".join(session.scopes()),
        "auth_time": session.authenticated_at_us // SECOND_US,
        "amr": session.methods(),
    }
    return sign(key, TOKEN_TYPE, claims, now_us, ACCESS_TOKEN_LIFE_S)


def internal_token(user: TokenUser, workload: str, key: ECKey, now_us: int, life_s: int) -> str:
    """Makes the token of a user that one workload can use: what the access token said, bound."""
    claims: dict[str, object] = {
        "aud": INTERNAL_AUDIENCE,
        "cnf": bound_to(workload),
        "sub": user.user_id,
        "sid": user.session_id,
        "scope": " ".join(sorted(user.scopes)),
        "auth_time": user.authenticated_at,
        "amr": methods(user),
    }
    return sign(key, INTERNAL_TYPE, claims, now_us, life_s)


def methods(user: TokenUser) -> list[str]:
    """Names what has proven who it is (RFC 8176)."""
    if user.is_key:
        return [KEY_METHOD]
    return ["pwd"] if user.second_factor_at is None else ["pwd", "otp", "mfa"]


def sign(key: ECKey, kind: str, claims: dict[str, object], now_us: int, life_s: int) -> str:
    now_s = now_us // SECOND_US
    always = {"iss": ISSUER, "iat": now_s, "exp": now_s + life_s, "jti": new_id()}
    return jwt.encode({"alg": ALGORITHM, "typ": kind, "kid": key.kid}, claims | always, key)
