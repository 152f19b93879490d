"""demo: the whole bank up on free ports with fresh data, its story told and proven, all down.

With `--against` the story is told to a bank that is up already, in compose or in a cluster.
"""

from __future__ import annotations

import asyncio
import shutil
import signal
import tempfile
import time
from collections.abc import Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mesh.cli.lifecycle import DATABASE_OPTION
from mesh.cli.output import progress
from mesh.supervisor.problem import INTERRUPTED, NOT_RUNNING, Problem
from mesh.supervisor.project import DatabaseKind, Project

if TYPE_CHECKING:
    import httpx2

    from services.commands.story import Story

__all__ = ["register"]

REQUEST_PATIENCE_S = 15.0


def register(app: typer.Typer, project: Project) -> None:
    """Adds the command."""

    @app.command()
    def demo(
        keep: Annotated[bool, typer.Option("--keep", help="Keep the data and the logs.")] = False,
        db: Annotated[DatabaseKind, DATABASE_OPTION] = DatabaseKind.SQLITE,
        against: Annotated[
            str, typer.Option(help="Tell it to a bank that is up: the URL of its REST API.")
        ] = "",
        traces: Annotated[
            str, typer.Option(help="With --against: the URL of its Jaeger, to see the trace.")
        ] = "",
    ) -> None:
        """Tell the bank's story and prove each step of it."""
        if against:
            _run(_tell_to(against.rstrip("/"), traces.rstrip("/")))
            return
        data = Path(tempfile.mkdtemp(prefix="bank-demo-"))
        passed = False
        try:
            _run(_demo(project, data, db))
            passed = True
        finally:
            if passed and not keep:
                shutil.rmtree(data, ignore_errors=True)
            else:
                progress(f"data and logs: {data}")


def _run(telling: Coroutine[Any, Any, None]) -> None:
    try:
        asyncio.run(_interruptible(telling))
    except asyncio.CancelledError:
        raise typer.Exit(INTERRUPTED) from None


async def _interruptible(telling: Coroutine[Any, Any, None]) -> None:
    task = asyncio.current_task()
    assert task is not None
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    await telling


async def _demo(project: Project, data: Path, db: DatabaseKind) -> None:
    from mesh.supervisor.embedded import Embedded
    from mesh.supervisor.ports import Ports
    from services.commands.story import Story

    began = time.monotonic()
    embedded = Embedded(project, data, Ports.free(), database=db)
    services = len(project.services)
    progress(f"starting NATS, the trace store, the control plane and {services} services …")
    await embedded.up()
    try:
        rest = embedded.endpoints.rest
        print(f"up in {time.monotonic() - began:.1f} s: {rest}\n")
        async with _client(rest) as client:
            story = Story(embedded, client, embedded.endpoints.traces)
            await _tell(story)
    finally:
        progress("stopping …")
        await embedded.down()
    print(f"\n{story.drawing}\n\nproven in {time.monotonic() - began:.1f} s; everything is down")


async def _tell_to(rest: str, traces: str) -> None:
    import httpx2

    from services.commands.customer import someone_like
    from services.commands.story import ANA, BRUNO, Story

    began = time.monotonic()
    people = (someone_like(ANA), someone_like(BRUNO))
    try:
        async with _client(rest) as client:
            story = Story(None, client, traces, people)
            await _tell(story)
    except httpx2.TransportError as error:
        why = f"{type(error).__name__} at {rest}"
        raise Problem("the bank does not answer", why, f"curl {rest}/readyz", NOT_RUNNING) from None
    drawing = f"\n{story.drawing}\n" if story.drawing else ""
    print(f"{drawing}\nproven in {time.monotonic() - began:.1f} s against {rest}")


def _client(rest: str) -> httpx2.AsyncClient:
    import httpx2

    return httpx2.AsyncClient(base_url=rest, timeout=REQUEST_PATIENCE_S)


async def _tell(story: Story) -> None:
    from services.commands.story import steps_of

    for number, (title, step) in enumerate(steps_of(story), 1):
        print(f"{number:>2}. {title}", flush=True)
        print(f"    ✓ {await step(story)}", flush=True)
