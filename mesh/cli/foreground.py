"""Runs the embedded profile in this process until it is told to stop."""

from __future__ import annotations

import asyncio
import contextlib
import signal

from mesh.cli.output import progress
from mesh.supervisor.embedded import Embedded
from mesh.supervisor.problem import INTERRUPTED
from mesh.supervisor.running import TOKEN_FILE

__all__ = ["stay_up"]


def stay_up(embedded: Embedded) -> int:
    """Starts everything and waits for SIGINT or SIGTERM; tells the exit code.

    The first signal stops gently, the second at once.
    """
    return asyncio.run(_stay_up(embedded))


async def _stay_up(embedded: Embedded) -> int:
    asked: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    times = 0

    def ask(code: int) -> None:
        nonlocal times
        times += 1
        if times > 1:
            embedded.kill()
        elif not asked.done():
            asked.set_result(code)

    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGINT, ask, INTERRUPTED)
    loop.add_signal_handler(signal.SIGTERM, ask, 0)
    project = embedded.project
    progress(f"{project.name} {project.version} · embedded profile · not for production")
    start = asyncio.create_task(embedded.up())
    either: list[asyncio.Future[int] | asyncio.Task[None]] = [start, asked]
    await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
    if not start.done():
        start.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await start
        return asked.result()
    await start
    _announce(embedded)
    code = await asked
    progress("stopping …")
    await embedded.down()
    return code


def _announce(embedded: Embedded) -> None:
    own = embedded.endpoints
    traces = f"{own.traces}   {'your Jaeger' if embedded.uses_jaeger else 'embedded trace store'}"
    lines = {
        "REST": f"{own.rest}/docs",
        "Dashboard": f"{own.dashboard}   token in {embedded.data / TOKEN_FILE}",
        "Traces": traces,
        "OTLP/HTTP": own.otlp,
        "NATS": own.nats,
        "xDS": own.xds,
        "Data": f"{embedded.data}   kept; --fresh starts over",
    }
    rule = "─" * 72
    table = "\n".join(f"  {name:<10} {value}" for name, value in lines.items())
    progress(f"{rule}\n{table}\n{rule}\n  Ctrl-C stops it")
