"""demo: the whole bank up on free ports with fresh data, its story told and proven, all down."""

from __future__ import annotations

import asyncio
import shutil
import signal
import tempfile
import time
from pathlib import Path
from typing import Annotated

import typer

from mesh.cli.output import progress
from mesh.supervisor.problem import INTERRUPTED
from mesh.supervisor.project import Project

__all__ = ["register"]

REQUEST_PATIENCE_S = 15.0


def register(app: typer.Typer, project: Project) -> None:
    """Adds the command."""

    @app.command()
    def demo(
        keep: Annotated[bool, typer.Option("--keep", help="Keep the data and the logs.")] = False,
    ) -> None:
        """Tell the bank's story and prove each step of it."""
        data = Path(tempfile.mkdtemp(prefix="bank-demo-"))
        passed = False
        try:
            asyncio.run(_interruptible(project, data))
            passed = True
        except asyncio.CancelledError:
            raise typer.Exit(INTERRUPTED) from None
        finally:
            if passed and not keep:
                shutil.rmtree(data, ignore_errors=True)
            else:
                progress(f"data and logs: {data}")


async def _interruptible(project: Project, data: Path) -> None:
    task = asyncio.current_task()
    assert task is not None
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    await _demo(project, data)


async def _demo(project: Project, data: Path) -> None:
    import httpx2

    from mesh.supervisor.embedded import Embedded
    from mesh.supervisor.ports import Ports
    from services.commands.story import STEPS, Story

    began = time.monotonic()
    embedded = Embedded(project, data, Ports.free())
    progress("starting NATS, the trace store, the control plane and seven services …")
    await embedded.up()
    try:
        print(f"up in {time.monotonic() - began:.1f} s: {embedded.endpoints.rest}\n")
        async with httpx2.AsyncClient(
            base_url=embedded.endpoints.rest, timeout=REQUEST_PATIENCE_S
        ) as client:
            story = Story(embedded, client)
            for number, (title, step) in enumerate(STEPS, 1):
                print(f"{number:>2}. {title}", flush=True)
                print(f"    ✓ {await step(story)}", flush=True)
    finally:
        progress("stopping …")
        await embedded.down()
    print(f"\n{story.drawing}\n\nproven in {time.monotonic() - began:.1f} s; everything is down")
