"""The supervisor over HTTP: its status for `./bank status`, a small page, restart and scale.

Served on the loopback only. What changes something wants the token of the data directory, which a
page of another site does not have; a foreign `Host` is refused, so that no name that was made to
point here (DNS rebinding) reads the status.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import uvicorn
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route

from mesh.supervisor.health import PATIENCE_S, get
from mesh.supervisor.ports import LOOPBACK
from mesh.supervisor.problem import NOT_RUNNING, USAGE, Problem

if TYPE_CHECKING:
    from mesh.supervisor.embedded import Embedded

__all__ = ["Dashboard"]

PAGE = Path(__file__).with_name("dashboard.html")
STATUS_OF = {USAGE: 400, NOT_RUNNING: 404}


class Dashboard:
    """Serves the supervisor's page and its API until it is stopped."""

    def __init__(self, embedded: Embedded, port: int, token: str) -> None:
        self._embedded = embedded
        self._token = token
        config = uvicorn.Config(
            self._app(),
            host=LOOPBACK,
            port=port,
            log_config=None,
            access_log=False,
            lifespan="off",
            ws="none",
            timeout_graceful_shutdown=1,
        )
        self._server = _Server(config)
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Starts to serve."""
        self._task = asyncio.create_task(self._server.serve(), name="dashboard")

    async def stop(self) -> None:
        """Stops to serve. Idempotent."""
        self._server.should_exit = True
        if self._task is not None:
            await asyncio.gather(self._task, return_exceptions=True)

    def _app(self) -> Starlette:
        return Starlette(
            routes=[
                Route("/", self._page),
                Route("/api/status", self._status),
                Route("/api/edges", self._edges),
                Route("/api/restart/{service}", self._restart, methods=["POST"]),
                Route("/api/scale/{service}/{count:int}", self._scale, methods=["POST"]),
            ],
            middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=[LOOPBACK, "localhost"])],
        )

    async def _page(self, request: Request) -> Response:
        return FileResponse(PAGE, headers={"content-security-policy": CONTENT_SECURITY_POLICY})

    async def _status(self, request: Request) -> Response:
        return JSONResponse(self._embedded.status())

    async def _edges(self, request: Request) -> Response:
        """Who calls whom, as the control plane knows it."""
        try:
            async with asyncio.timeout(PATIENCE_S):
                status, body = await get(self._embedded.admin_port("control-plane"), "/edges")
        except (OSError, TimeoutError, ValueError, Problem):
            return JSONResponse({"edges": [], "window_s": 0.0}, 503)
        return Response(body, status, media_type="application/json")

    async def _restart(self, request: Request) -> Response:
        return await self._change(request, self._embedded.restart)

    async def _scale(self, request: Request) -> Response:
        count: int = request.path_params["count"]
        return await self._change(request, lambda name: self._embedded.scale(name, count))

    async def _change(self, request: Request, act: Callable[[str], Awaitable[None]]) -> Response:
        shown = request.headers.get("authorization", "").removeprefix("Bearer ")
        if not secrets.compare_digest(shown.encode(), self._token.encode()):
            problem = Problem("not allowed", "the token is missing or wrong", "see .bank/token")
            return _refusal(problem, 401)
        try:
            await act(request.path_params["service"])
        except Problem as problem:
            return _refusal(problem, STATUS_OF.get(problem.exit_code, 500))
        return JSONResponse(self._embedded.status())


CONTENT_SECURITY_POLICY = (
    "default-src 'self'; style-src 'unsafe-inline'; script-src 'unsafe-inline'"
)


def _refusal(problem: Problem, status: int) -> Response:
    body = {"what": problem.what, "why": problem.why, "try": problem.remedy}
    return JSONResponse({**body, "exit_code": problem.exit_code}, status)


class _Server(uvicorn.Server):
    """A uvicorn that leaves the process's signals to their owner."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield
