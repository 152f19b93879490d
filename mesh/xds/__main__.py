"""Runs the control plane: `python -m mesh.xds`. Ends with 0 on SIGTERM and SIGINT."""

from __future__ import annotations

import asyncio
import signal

import uvloop

from mesh.xds.plane import WORKLOAD, ControlPlane
from mesh.xds.settings import ControlPlaneSettings
from mesh.xds.together import until_one_ends
from observability import logs


async def run(settings: ControlPlaneSettings) -> None:
    """Runs until a signal says to stop."""
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    plane = ControlPlane(settings)
    try:
        await plane.start()
        await until_one_ends(_until(stopping), plane.serve())
    finally:
        await plane.stop()


async def _until(event: asyncio.Event) -> None:
    await event.wait()


def main() -> None:
    """Reads the settings, and runs."""
    settings = ControlPlaneSettings()
    logs.configure(service=WORKLOAD, format=settings.log_format)
    try:
        uvloop.run(run(settings))
    finally:
        logs.shutdown()


if __name__ == "__main__":
    main()
