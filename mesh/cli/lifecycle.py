"""up, down, restart, scale: the embedded profile from its start to its end."""

from __future__ import annotations

import os
import re
import shutil
import signal
import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from mesh.cli.output import Output, has_colour, print_json, progress
from mesh.supervisor.problem import USAGE, Problem
from mesh.supervisor.project import DatabaseKind, Project
from mesh.supervisor.running import Running, data_dir

__all__ = ["DATABASE_OPTION", "register"]

DATABASE_OPTION = typer.Option("--db", envvar="BANK_DB", help="What services keep their data in.")

STOP_PATIENCE_S = 60.0
VERSION = re.compile(r"[\w.-]{1,40}")


def register(app: typer.Typer, project: Project) -> None:
    """Adds the commands."""
    _register_up(app, project)
    _register_changes(app, project)


def _register_up(app: typer.Typer, project: Project) -> None:
    @app.command()
    def up(
        port_base: Annotated[int, typer.Option(help="Shift every default port by this.")] = 0,
        scale: Annotated[
            list[str] | None,
            typer.Option(help="Instances of a service: transfers=3, or of a version: pix@v2=1."),
        ] = None,
        db: Annotated[DatabaseKind, DATABASE_OPTION] = DatabaseKind.SQLITE,
        control_planes: Annotated[
            int, typer.Option(min=1, max=3, help="Replicas of the control plane.")
        ] = 1,
        fresh: Annotated[bool, typer.Option("--fresh", help="Empty the data first.")] = False,
        quiet: Annotated[bool, typer.Option("--quiet", help="Keep logs in files only.")] = False,
    ) -> None:
        """Start everything and stay in the foreground; Ctrl-C stops it."""
        from mesh.cli.foreground import stay_up
        from mesh.supervisor.embedded import Embedded
        from mesh.supervisor.ports import Ports

        data = data_dir(project.root)
        ports = Ports.shifted(port_base)
        if fresh:
            empty(data)
        embedded = Embedded(
            project,
            data,
            ports,
            scale=_counts(scale or [], project),
            database=db,
            control_planes=control_planes,
            logs_to=None if quiet else sys.stdout,
            colour=has_colour(sys.stdout),
            progress=lambda name, seconds: progress(f"  ✓ {name:<18} {seconds:5.1f} s"),
        )
        raise typer.Exit(stay_up(embedded))


def _register_changes(app: typer.Typer, project: Project) -> None:
    @app.command()
    def down() -> None:
        """Stop what `up` started, from another terminal."""
        running = Running.find(data_dir(project.root))
        os.kill(running.pid, signal.SIGTERM)
        deadline = time.monotonic() + STOP_PATIENCE_S
        while time.monotonic() < deadline:
            try:
                os.kill(running.pid, 0)
            except ProcessLookupError:
                return
            time.sleep(0.05)
        why = f"process {running.pid} is still there after {STOP_PATIENCE_S:.0f} s"
        raise Problem("it does not stop", why, f"kill -9 {running.pid}")

    @app.command()
    def restart(service: str, output: Annotated[Output, typer.Option()] = Output.TABLE) -> None:
        """Restart a service, one instance after the other."""
        _answer(Running.find(data_dir(project.root)).change(f"/api/restart/{service}"), output)

    @app.command()
    def scale(
        counts: Annotated[
            list[str],
            typer.Argument(help="Instances of a service: transfers=3, or of a version: pix@v2=1."),
        ],
        output: Annotated[Output, typer.Option()] = Output.TABLE,
    ) -> None:
        """Run so many instances of a service."""
        wanted = _counts(counts, project)
        running = Running.find(data_dir(project.root))
        for service, count in wanted.items():
            status = running.change(f"/api/scale/{service}/{count}")
        _answer(status, output)


def empty(data: Path) -> None:
    """Empties a data directory; refuses one that is not a supervisor's, or is in use."""
    if not data.exists() or not any(data.iterdir()):
        return
    if not (data / "lock").exists():
        why = f"{data} holds files that no supervisor has made"
        raise Problem("the data is not emptied", why, "empty it yourself, or set BANK_DATA", USAGE)
    try:
        Running.find(data)
    except Problem:
        shutil.rmtree(data)
        return
    raise Problem("the data is not emptied", "the bank is up", "./bank down, then again")


def _answer(status: dict[str, object], output: Output) -> None:
    from mesh.cli.looking import print_status

    if output is Output.JSON:
        print_json(status)
    else:
        print_status(status)


def _counts(pairs: list[str], project: Project) -> dict[str, int]:
    counts: dict[str, int] = {}
    for pair in pairs:
        name, _, number = pair.partition("=")
        service, at, version = name.partition("@")
        named = service in project.services and (VERSION.fullmatch(version) or not at)
        if not named or not number.isdecimal() or int(number) > 16:
            known = ", ".join(project.services)
            why = f"it must be SERVICE=NUMBER or SERVICE@VERSION=NUMBER, at most 16; known: {known}"
            raise Problem(f"{pair} makes no sense", why, "transfers=2", USAGE)
        counts[name] = int(number)
    return counts
