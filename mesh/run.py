"""The life of a process: live at once, ready when it can serve, drained before it ends.

It starts whatever else is up. The admin page answers first; database, identity, control plane and
NATS are waited for in the background, and `GET /readyz` says what is missing. SIGTERM drains: the
control plane takes the instance out of use, what runs is finished, and the process exits with 0.
"""

from __future__ import annotations

import asyncio
import gc
import signal
import sys
from typing import Any

import uvloop

from mesh import debug
from mesh.admin import Admin, Readiness
from mesh.chassis import Build
from mesh.process import Process
from mesh.rpc.handshakes import watch_handshakes
from mesh.settings import Settings
from observability import logs, metrics, tracing

__all__ = ["main", "run"]

# How long the last spans and lines may take to get out. Nobody waits for a collector that is away.
_SPANS_S = 0.8
_LINES_S = 2.0

log = logs.get_logger(__name__)


def main(name: str, build: Build) -> None:
    """Runs a service until it is told to end, and exits with 0; with 1 if it could not go on."""
    watch_handshakes()
    settings = Settings(service=name)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        code = runner.run(run(settings, build))
    sys.exit(code)


async def run(settings: Settings, build: Build) -> int:
    """Runs a process until SIGTERM or SIGINT; gives its exit code."""
    _observe(settings)
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    readiness = Readiness()
    pages = debug.pages() if settings.debug_services else None
    admin = Admin(readiness, metrics.expose, pages)
    process = Process(settings, build, readiness)
    try:
        port = await admin.start(settings.admin_listen)
        log.info("live", extra={"admin_port": port})
        await _live(process, stopped)
        return 0
    except Exception:
        log.exception("the process cannot go on")
        return 1
    finally:
        await process.close()
        await admin.stop()
        await tracing.shutdown_async(_SPANS_S)
        logs.shutdown(_LINES_S)


async def _live(process: Process, stopped: asyncio.Event) -> None:
    """Starts, waits for the signal, drains. Raises what broke the process, if something did."""
    stop = asyncio.create_task(stopped.wait())
    start = asyncio.create_task(process.start())
    ends: list[asyncio.Future[Any]] = [stop, process.broken]
    try:
        await asyncio.wait([start, *ends], return_when=asyncio.FIRST_COMPLETED)
        if start.done():
            start.result()
            _settle()
            log.info("started")
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        if process.broken.done():
            error = process.broken.result()
            raise error or RuntimeError("a part of the process has ended")
        start.cancel()
        await asyncio.gather(start, return_exceptions=True)
        log.info("draining")
        await process.drain()
        log.info("drained")
    finally:
        for task in (start, stop):
            task.cancel()
        await asyncio.gather(start, stop, return_exceptions=True)


def _settle() -> None:
    """Takes what lives as long as the process out of the collector's sight, and lets it rest more:
    a call makes many containers, and next to no cycles.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)


def _observe(settings: Settings) -> None:
    service, version, instance = settings.service, settings.version, settings.instance_id
    logs.configure(service=service, format=settings.log_format, instance=instance)
    # It tells every step of a migration, three times.
    logs.get_logger("alembic").setLevel("WARNING")
    metrics.configure(service=service, version=version, instance=instance)
    tracing.configure(
        service=service,
        version=version,
        instance=instance,
        otlp_url=settings.otlp_url or None,
        sample_ratio=settings.trace_ratio,
        sampling_url=settings.sampling_url or None,
        environment=settings.env,
    )
