"""Verifies tokens that name a user, each once: a verified token is known until it expires.

There are two kinds. An access token (RFC 9068) is what an app shows at the edge. Inside the mesh
an internal token travels: it is good for the one workload that `cnf` names (RFC 7800), over that
workload's own mutual TLS, as a certificate-bound token is (RFC 8705). Whoever reads it can do
nothing with it, and no service ever sees an access token.

What is accepted is a list, never what the token proposes: ES256, the type, a `kid` of the issuer's
own keys. Headers that would bring a key along (`jwk`, `jku`, `x5u`) are not read.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import orjson
from joserfc import jws
from joserfc.errors import JoseError

from mesh.auth.keys import TokenKeys
from mesh.auth.revocations import Revocations
from mesh.errors import Unauthenticated
from mesh.identity.spiffe import spiffe_id
from mesh.rpc.context import User

__all__ = [
    "ALGORITHM",
    "AUDIENCE",
    "INTERNAL_AUDIENCE",
    "INTERNAL_TYPE",
    "ISSUER",
    "KEY_METHOD",
    "LEEWAY_S",
    "TOKEN_TYPE",
    "TokenVerifier",
    "bound_to",
]

ISSUER = "https://bank.example"
AUDIENCE = "bank"
ALGORITHM = "ES256"
TOKEN_TYPE = "at+jwt"  # noqa: S105

# Of a token that travels inside (draft-ietf-oauth-transaction-tokens).
INTERNAL_AUDIENCE = "mesh"
INTERNAL_TYPE = "txntoken+jwt"

# No token lives longer: a session that was ended need not be remembered for longer either.
MOST_LIFE_S = 900

# How far two machines' clocks may be apart.
LEEWAY_S = 60

# Twice a real token, with room to grow; a longer one is not even hashed.
MAX_LENGTH = 4_096
MAX_KNOWN = 16_384

# Methods (RFC 8176) that count as a second factor.
SECOND_FACTORS = frozenset({"otp", "mfa", "hwk"})

# The method of a program that has shown an API key.
KEY_METHOD = "key"


def bound_to(workload: str) -> dict[str, str]:
    """Makes the `cnf` claim of a token that only one workload can use."""
    return {"spiffe": spiffe_id(workload)}


class TokenVerifier:
    """Tells whom a token names, unless the session was ended. `clock` gives seconds since 1970."""

    def __init__(
        self,
        keys: TokenKeys,
        revocations: Revocations | None = None,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._keys = keys
        self._revoked = Revocations() if revocations is None else revocations
        self._clock = clock
        self._known: dict[str, tuple[User, str, float]] = {}

    def known(self, token: str, workload: str) -> User | None:
        """Tells whom an internal token names that was verified before, and is still good."""
        found = self._known.get(token)
        if found is None:
            return None
        user, holder, expires_at = found
        if (
            holder == workload
            and self._clock() < expires_at
            and user.session_id not in self._revoked.sessions
        ):
            return user
        del self._known[token]
        return None

    async def verify(self, token: str, workload: str) -> User:
        """Tells whom an internal token names that `workload` shows.

        Raises `Unauthenticated`: reason `TOKEN_NOT_YOURS` when it was given to another workload,
        `SESSION_ENDED` when the user has signed out, `TOKEN_EXPIRED`, or `TOKEN_INVALID`, which
        says no more of what is wrong with it. Raises `Transient` when the issuer's keys cannot be
        had.
        """
        user = self.known(token, workload)
        if user is not None:
            return user
        claims = await self._open(token, INTERNAL_TYPE)
        user, expires_at = self._read(claims, INTERNAL_AUDIENCE)
        if not workload or claims.get("cnf") != bound_to(workload):
            raise Unauthenticated("TOKEN_NOT_YOURS", "The token was given to another workload.")
        if len(self._known) >= MAX_KNOWN:
            del self._known[next(iter(self._known))]
        self._known[token] = user, workload, expires_at
        return user

    async def verify_access(self, token: str) -> tuple[User, float]:
        """Tells whom an app's access token names, and the second since 1970 at which it expires.

        Raises as `verify` does.
        """
        user, expires_at = self._read(await self._open(token, TOKEN_TYPE), AUDIENCE)
        return user, expires_at - LEEWAY_S

    async def _open(self, token: str, kind: str) -> dict[str, Any]:
        if len(token) > MAX_LENGTH:
            raise _invalid()
        try:
            signed = jws.extract_compact(token.encode())
        except (JoseError, ValueError, TypeError, AttributeError, RecursionError):
            raise _invalid() from None
        header = signed.headers()
        if (
            header.get("alg") != ALGORITHM
            or str(header.get("typ", "")).lower() != kind
            or "crit" in header
            or not isinstance(header.get("kid"), str)
        ):
            raise _invalid()
        key = await self._keys.find(header["kid"])
        try:
            genuine = jws.validate_compact(signed, key, algorithms=[ALGORITHM])
            claims = orjson.loads(signed.payload) if genuine else None
        except (JoseError, ValueError):
            raise _invalid() from None
        if not isinstance(claims, dict):
            raise _invalid()
        return claims

    def _read(self, claims: dict[str, Any], audience: str) -> tuple[User, float]:
        """Checks the claims; gives the user, and the second since 1970 at which the token ends."""
        now = self._clock()
        issued_at, expires_at = _number(claims, "iat"), _number(claims, "exp")
        if (
            claims.get("iss") != ISSUER
            or claims.get("aud") not in (audience, [audience])
            or issued_at > now + LEEWAY_S
            or expires_at - issued_at > MOST_LIFE_S
            or ("nbf" in claims and _number(claims, "nbf") > now + LEEWAY_S)
        ):
            raise _invalid()
        if expires_at + LEEWAY_S <= now:
            raise Unauthenticated("TOKEN_EXPIRED", "The access token has expired.")
        authenticated_at = int(_number(claims, "auth_time")) if "auth_time" in claims else 0
        methods = claims.get("amr", [])
        proven = isinstance(methods, list) and any(m in SECOND_FACTORS for m in methods)
        user = User(
            user_id=_text(claims, "sub"),
            session_id=_text(claims, "sid"),
            scopes=frozenset(str(claims.get("scope", "")).split()),
            authenticated_at=authenticated_at,
            second_factor_at=authenticated_at if proven else None,
            is_key=methods == [KEY_METHOD],
        )
        if user.session_id in self._revoked.sessions:
            raise Unauthenticated("SESSION_ENDED", "The session has ended; sign in again.")
        return user, expires_at + LEEWAY_S


def _invalid() -> Unauthenticated:
    return Unauthenticated("TOKEN_INVALID", "The access token is not valid.")


def _number(claims: dict[str, Any], name: str) -> float:
    value = claims.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _invalid()
    return value


def _text(claims: dict[str, Any], name: str) -> str:
    value = claims.get(name)
    if not isinstance(value, str) or not value:
        raise _invalid()
    return value
