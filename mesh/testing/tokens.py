"""Users' tokens for tests, signed with a key of their own."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from joserfc import jwt
from joserfc.jwk import ECKey

from mesh.auth.tokens import (
    ALGORITHM,
    AUDIENCE,
    INTERNAL_AUDIENCE,
    INTERNAL_TYPE,
    ISSUER,
    TOKEN_TYPE,
    bound_to,
)
from mesh.ids import new_id
from meshapi.v1.tokens_pb2 import TokenKey

__all__ = ["TokenMint"]


class TokenMint:
    """Issues tokens as the users service would; `fetch` publishes its key.

    Internal tokens are for `workload`, if nothing else is said.
    """

    def __init__(self, kid: str = "test-1", workload: str = "bff") -> None:
        self.kid = kid
        self.workload = workload
        self.key = ECKey.generate_key("P-256")

    def token(
        self,
        user_id: str,
        *,
        scope: str = "",
        second_factor: bool = False,
        workload: str = "",
    ) -> str:
        """Makes an internal token for a workload, that is valid for a quarter of an hour."""
        claims: dict[str, Any] = {"sub": user_id, "scope": scope}
        if second_factor:
            claims["amr"] = ["pwd", "otp"]
        return self.sign_internal(claims, workload=workload)

    def sign_internal(
        self,
        claims: dict[str, Any],
        header: dict[str, Any] | None = None,
        *,
        workload: str = "",
    ) -> str:
        """Signs claims as `sign` does, for a workload."""
        inside = {"aud": INTERNAL_AUDIENCE, "cnf": bound_to(workload or self.workload)}
        return self.sign(inside | claims, {"typ": INTERNAL_TYPE} | (header or {}))

    def sign(self, claims: dict[str, Any], header: dict[str, Any] | None = None) -> str:
        """Signs the claims of an access token. Those that are not given are good; one that is None
        is left out.
        """
        now = int(time.time())
        good = {
            "iss": ISSUER,
            "aud": AUDIENCE,
            "sub": new_id(),
            "sid": new_id(),
            "jti": new_id(),
            "iat": now,
            "exp": now + 900,
            "auth_time": now,
            "amr": ["pwd"],
        }
        told = {key: value for key, value in (good | claims).items() if value is not None}
        head = {"alg": ALGORITHM, "typ": TOKEN_TYPE, "kid": self.kid} | (header or {})
        return jwt.encode(head, told, self.key, algorithms=[head["alg"]])

    def public_key(self) -> TokenKey:
        """The key that tokens are verified by, as the issuer publishes it."""
        key = self.key.as_dict(private=False)
        x, y = str(key["x"]), str(key["y"])
        return TokenKey(kty="EC", use="sig", alg=ALGORITHM, kid=self.kid, crv="P-256", x=x, y=y)

    async def fetch(self) -> Sequence[TokenKey]:
        """Publishes the key."""
        return [self.public_key()]
