"""One POST: to the address that was checked, without following anything, within a time."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import httpx2 as httpx

from mesh.errors import Transient

from .addresses import Refusal, Target, resolve

__all__ = ["Answer", "Poster"]

TRY_S: Final = 10.0
"""How long a try may take, from the name to the answer."""

_MOST_BODY: Final = 4_096
_AGAIN: Final = frozenset({408, 425, 429})


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of a try. `status` is 0 and `error` a stable name if nobody answered."""

    status: int
    body: bytes = b""
    error: str = ""
    is_final: bool = False

    @property
    def is_taken(self) -> bool:
        return 200 <= self.status < 300


class Poster:
    """Posts messages. `is_open` lets them go to our own addresses, without TLS too."""

    def __init__(self, *, is_open: bool, try_s: float = TRY_S) -> None:
        self._is_open = is_open
        self._try_s = try_s
        # A connection is used once: another host may have the same address.
        self._client = httpx.AsyncClient(
            transport=httpx.AsyncHTTPTransport(
                trust_env=False, limits=httpx.Limits(max_keepalive_connections=0)
            ),
            follow_redirects=False,
            trust_env=False,
            timeout=try_s,
        )

    async def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> Answer:
        """Posts a message, and tells what became of it. Raises nothing of its own."""
        try:
            async with asyncio.timeout(self._try_s):
                return await self._post(await resolve(url, is_open=self._is_open), body, headers)
        except Refusal as refusal:
            return Answer(0, error=refusal.reason, is_final=True)
        except Transient as error:
            return Answer(0, error=error.reason)
        except TimeoutError:
            return Answer(0, error="NO_ANSWER_IN_TIME")
        except httpx.TimeoutException:
            return Answer(0, error="NO_ANSWER_IN_TIME")
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
            return Answer(0, error=f"NOT_REACHED_{type(error).__name__.upper()}")

    async def _post(self, target: Target, body: bytes, headers: Mapping[str, str]) -> Answer:
        address = f"[{target.address}]" if ":" in target.address else target.address
        request = self._client.build_request(
            "POST",
            f"{target.scheme}://{address}:{target.port}{target.path}",
            content=body,
            headers={**headers, "host": target.authority, "user-agent": "webhooks/1"},
            extensions={"sni_hostname": target.host},
        )
        answer = await self._client.send(request, stream=True)
        try:
            read = b""
            async for chunk in answer.aiter_raw():
                read += chunk
                if len(read) >= _MOST_BODY:
                    break
        finally:
            await answer.aclose()
        status = answer.status_code
        if 200 <= status < 300:
            return Answer(status, read[:_MOST_BODY])
        is_final = status < 500 and status not in _AGAIN
        return Answer(status, error=f"HTTP_{status}", is_final=is_final)

    async def close(self) -> None:
        """Ends the connections that are open."""
        await self._client.aclose()
