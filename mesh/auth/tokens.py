"""Verifies access tokens (RFC 9068), each once: a verified token is known until it expires.

What is accepted is a list, never what the token proposes: ES256, type `at+jwt`, a `kid` of the
issuer's own keys. Headers that would bring a key along (`jwk`, `jku`, `x5u`) are not read.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import orjson
from joserfc import jws
from joserfc.errors import JoseError

from mesh.auth.keys import TokenKeys
from mesh.errors import Unauthenticated
from mesh.rpc.context import User

__all__ = ["ALGORITHM", "AUDIENCE", "ISSUER", "LEEWAY_S", "TOKEN_TYPE", "TokenVerifier"]

ISSUER = "https://bank.example"
AUDIENCE = "bank"
ALGORITHM = "ES256"
TOKEN_TYPE = "at+jwt"  # noqa: S105

# How far two machines' clocks may be apart.
LEEWAY_S = 60

# Twice a real token, with room to grow; a longer one is not even hashed.
MAX_LENGTH = 4_096
MAX_KNOWN = 16_384

# Methods (RFC 8176) that count as a second factor.
SECOND_FACTORS = frozenset({"otp", "mfa", "hwk"})


class TokenVerifier:
    """Tells whom a token names. `clock` gives seconds since 1970."""

    def __init__(self, keys: TokenKeys, *, clock: Callable[[], float] = time.time) -> None:
        self._keys = keys
        self._clock = clock
        self._known: dict[str, tuple[User, float]] = {}

    def known(self, token: str) -> User | None:
        """Tells whom a token names that was verified before, and has not expired since."""
        found = self._known.get(token)
        if found is None:
            return None
        user, expires_at = found
        if self._clock() < expires_at:
            return user
        del self._known[token]
        return None

    async def verify(self, token: str) -> User:
        """Tells whom a token names.

        Raises `Unauthenticated`, reason `TOKEN_EXPIRED` or `TOKEN_INVALID`, which says no more of
        what is wrong with it; `Transient` when the issuer's keys cannot be had.
        """
        user = self.known(token)
        if user is not None:
            return user
        if len(token) > MAX_LENGTH:
            raise _invalid()
        claims = await self._open(token)
        user, expires_at = self._read(claims)
        if len(self._known) >= MAX_KNOWN:
            del self._known[next(iter(self._known))]
        self._known[token] = user, expires_at
        return user

    async def _open(self, token: str) -> dict[str, Any]:
        try:
            signed = jws.extract_compact(token.encode())
        except (JoseError, ValueError, TypeError, AttributeError, RecursionError):
            raise _invalid() from None
        header = signed.headers()
        if (
            header.get("alg") != ALGORITHM
            or str(header.get("typ", "")).lower() != TOKEN_TYPE
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

    def _read(self, claims: dict[str, Any]) -> tuple[User, float]:
        """Checks the claims; gives the user, and the second since 1970 at which the token ends."""
        audience = claims.get("aud")
        now = self._clock()
        expires_at = _number(claims, "exp")
        if (
            claims.get("iss") != ISSUER
            or (AUDIENCE not in audience if isinstance(audience, list) else audience != AUDIENCE)
            or _number(claims, "iat") > now + LEEWAY_S
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
        )
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
