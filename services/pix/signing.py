"""Signs charges (JWS, RFC 7515, by ES256), with a key that is made once and kept."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any

from joserfc import jws
from joserfc.jwk import ECKey
from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from .domain.codes import Code
from .store import codes

ALGORITHM = "ES256"
CURVE = "P-256"
KEYS_PLACE = "/v1/pix/jwks"


class PixSettings(BaseSettings):
    """`PIX_HOST` is the host under which other banks' apps reach our edge: where charges stand."""

    model_config = SettingsConfigDict(env_prefix="PIX_", frozen=True)

    host: str = Field(default="pix.linker.example", max_length=27)


class Signer:
    """Signs with one key. `host` is where its public half is found."""

    def __init__(
        self,
        transact: Callable[..., Awaitable[Any]],
        read: Callable[..., Awaitable[Any]],
        host: str,
    ) -> None:
        self.transact = transact
        self.read = read
        self.host = host
        self.known: ECKey | None = None

    async def key(self) -> ECKey:
        if self.known is None:
            pem = await self.read(codes.signing_key)
            if pem is None:
                made = ECKey.generate_key(CURVE)
                text = made.as_pem(private=True).decode()
                pem = await self.transact(codes.keep_signing_key, made.thumbprint(), text)
            self.known = ECKey.import_key(pem)
        return self.known

    async def sign(self, code: Code) -> str:
        """Gives the charge of a code, signed."""
        key = await self.key()
        header = {
            "alg": ALGORITHM,
            "typ": "JWT",
            "kid": key.thumbprint(),
            "jku": f"https://{self.host}{KEYS_PLACE}",
        }
        return jws.serialize_compact(header, json.dumps(code.charge()).encode(), key)

    async def public(self) -> dict[str, str]:
        """Gives the public half of the key (JWK, RFC 7517)."""
        key = await self.key()
        public = {name: str(value) for name, value in key.as_dict(private=False).items()}
        return public | {"kid": key.thumbprint(), "alg": ALGORITHM, "use": "sig"}
