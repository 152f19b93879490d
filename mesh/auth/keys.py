"""The public keys of whoever issues tokens, fetched when they are needed and kept for a while."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence

from joserfc.errors import JoseError
from joserfc.jwk import ECKey

from mesh.errors import Error, Transient, Unauthenticated
from meshapi.v1.tokens_pb2 import ListTokenKeysRequest, ListTokenKeysResponse, TokenKey
from observability import logs

__all__ = ["PAUSE_S", "Fetch", "TokenKeys", "issuer_keys"]

Fetch = Callable[[], Awaitable[Sequence[TokenKey]]]

# Keys older than this are asked for again; if nobody answers they serve on, until MAX_AGE_S. An
# issuer publishes a key for twice as long before it signs.
REFRESH_S = 30.0
MAX_AGE_S = 3_600.0

# An unknown key name is worth one question now and then: anybody can make names up.
PAUSE_S = 5.0
MAX_KEYS = 32

log = logs.get_logger(__name__)


class TokenKeys:
    """The keys that are known, by name. `fetch` asks the issuer; `clock` counts seconds."""

    def __init__(self, fetch: Fetch, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._fetch = fetch
        self._clock = clock
        self._keys: Mapping[str, ECKey] = {}
        self._fetched_at = float("-inf")
        self._asked_at = float("-inf")
        self._asking = asyncio.Lock()

    async def find(self, name: str) -> ECKey:
        """Finds a key by its `kid`, asking the issuer when it is unknown.

        Raises `Unauthenticated` when the issuer does not know it either, and `Transient` when no
        keys are at hand and the issuer does not answer.
        """
        if self._age() > REFRESH_S or name not in self._keys:
            await self._refresh()
        if self._age() > MAX_AGE_S:
            raise Transient("TOKEN_KEYS_UNAVAILABLE", "The keys of tokens cannot be fetched now.")
        key = self._keys.get(name)
        if key is None:
            raise Unauthenticated("TOKEN_INVALID", "The access token is not valid.")
        return key

    def _age(self) -> float:
        return self._clock() - self._fetched_at

    async def _refresh(self) -> None:
        asked_at = self._asked_at
        async with self._asking:
            if self._asked_at != asked_at:
                return  # Somebody else asked while this call waited.
            if self._age() <= MAX_AGE_S and self._clock() - asked_at < PAUSE_S:
                return
            try:
                keys = await self._fetch()
            except Error as error:
                log.warning("token keys cannot be fetched", extra={"reason": error.reason})
                return
            finally:
                self._asked_at = self._clock()
            self._keys = {key.kid: found for key in keys[:MAX_KEYS] if (found := _import(key))}
            self._fetched_at = self._clock()


def issuer_keys(list_keys: Callable[..., Awaitable[ListTokenKeysResponse]]) -> Fetch:
    """Fetches keys with the `ListTokenKeys` method of a stub of `TokenKeysService`."""

    async def fetch() -> Sequence[TokenKey]:
        answer = await list_keys(ListTokenKeysRequest())
        return answer.keys

    return fetch


def _import(key: TokenKey) -> ECKey | None:
    """Reads a JSON Web Key (RFC 7517), if it is of the one kind that signs tokens."""
    if (key.kty, key.crv, key.alg, key.use) != ("EC", "P-256", "ES256", "sig") or not key.kid:
        return None
    try:
        return ECKey.import_key({"kty": "EC", "crv": "P-256", "x": key.x, "y": key.y})
    except (JoseError, ValueError):
        return None
