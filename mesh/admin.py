"""The page that a process shows to those who run it: is it alive, is it ready, how does it do.

Plain HTTP on a port of its own, made of the standard library: it is up before anything else is.

GET /livez      200 as long as the event loop turns
GET /readyz     200, or 503 with what is missing
GET /metrics    Prometheus text; OpenMetrics, with exemplars, for who accepts that
GET /debug/…    what gRPC's core says of itself, where that is wanted (`mesh.debug`)
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Callable, Mapping, Sequence

__all__ = ["Admin", "Readiness", "host_and_port"]

MAX_HEAD_BYTES = 8 * 1024
PATIENCE_S = 5.0
MAX_CONNECTIONS = 64

Answer = tuple[str, str, bytes]

_JSON = "application/json"


class Readiness:
    """What a process needs, and what of it is missing. Asked, never told: it cannot go stale."""

    def __init__(self) -> None:
        self._needs: dict[str, Callable[[], str | Sequence[str]]] = {}

    def needs(self, name: str, problem: Callable[[], str | Sequence[str]]) -> None:
        """Adds a need, or says anew what is in its way.

        `problem` tells it in words, "" when nothing is; or as a list of such, which stand alone.
        """
        self._needs[name] = problem

    def missing(self) -> list[str]:
        """Lists what is missing, each as `name: problem`."""
        found: list[str] = []
        for name, problem in self._needs.items():
            told = problem()
            if isinstance(told, str):
                found += [f"{name}: {told}"] if told else []
            else:
                found += told
        return found


class Admin:
    """The admin server. `metrics` is given what the asker accepts, and gives a type and a text;
    `pages` make more JSON, by path.
    """

    def __init__(
        self,
        readiness: Readiness,
        metrics: Callable[[str], tuple[str, bytes]],
        pages: Mapping[bytes, Callable[[], bytes]] | None = None,
    ) -> None:
        self._readiness = readiness
        self._metrics = metrics
        self._pages = pages or {}
        self._server: asyncio.Server | None = None
        self._connections = 0

    async def start(self, listen: str) -> int:
        """Starts to answer at `host:port`; gives the port. Raises `OSError` if it is taken."""
        host, port = host_and_port(listen)
        self._server = await asyncio.start_server(self._serve, host, port, limit=MAX_HEAD_BYTES)
        bound: int = self._server.sockets[0].getsockname()[1]
        return bound

    async def stop(self) -> None:
        """Stops answering."""
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._connections += 1
        try:
            if self._connections <= MAX_CONNECTIONS:
                async with asyncio.timeout(PATIENCE_S):
                    head = await reader.readuntil(b"\r\n\r\n")
                    writer.write(_response(*self._answer(head)))
                    await writer.drain()
        except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass  # Whoever asks badly is not answered.
        finally:
            self._connections -= 1
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    def _answer(self, head: bytes) -> Answer:
        method, _, rest = head.partition(b" ")
        path = rest.partition(b" ")[0].partition(b"?")[0]
        if method != b"GET":
            return "405 Method Not Allowed", _JSON, b"{}"
        if path == b"/livez":
            return "200 OK", _JSON, b'{"live": true}'
        if path == b"/readyz":
            missing = self._readiness.missing()
            body = json.dumps({"ready": not missing, "missing": missing}).encode()
            return "503 Service Unavailable" if missing else "200 OK", _JSON, body
        if path == b"/metrics":
            return "200 OK", *self._metrics(_accepted(head))
        if page := self._pages.get(path):
            return "200 OK", _JSON, page()
        return "404 Not Found", _JSON, b"{}"


def _accepted(head: bytes) -> str:
    """Reads the `Accept` header of a request; "" if there is none."""
    for line in head.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if name.strip().lower() == b"accept":
            return value.strip().decode("latin-1")
    return ""


def host_and_port(address: str) -> tuple[str, int]:
    """Splits `host:port`. Raises `ValueError` for anything else."""
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)


def _response(status: str, media_type: str, body: bytes) -> bytes:
    head = (
        f"HTTP/1.1 {status}\r\nContent-Type: {media_type}\r\n"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    return head.encode() + body
