"""check and doctor: is the system well, and is this machine fit for it?"""

from __future__ import annotations

import contextlib
import importlib
import socket
import sys
from collections.abc import Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from mesh.cli.findings import Examination, Finding, examined, tell
from mesh.cli.output import Output
from mesh.supervisor.problem import Problem
from mesh.supervisor.project import Project
from mesh.supervisor.running import Running, data_dir

__all__ = ["register"]

PATIENCE_S = 3.0


def register(app: typer.Typer, project: Project) -> None:
    """Adds the commands."""

    @app.command()
    def check(output: Annotated[Output, typer.Option()] = Output.TABLE) -> None:
        """Check that all is well with what is up; exit 1 if not."""
        running = Running.find(data_dir(project.root))
        groups = ((name, _found(group)) for name, group in _groups(running, project).items())
        raise typer.Exit(tell(groups, output))

    @app.command()
    def doctor(output: Annotated[Output, typer.Option()] = Output.TABLE) -> None:
        """Check that this machine is fit to run it; exit 1 if not."""
        ports = partial(_ports, data_dir(project.root))
        raise typer.Exit(tell([("install", _found({**EXAMINATIONS, "ports": ports}))], output))


def _groups(running: Running, project: Project) -> dict[str, dict[str, Examination]]:
    from mesh.cli.check_events import clock, event_examinations
    from mesh.cli.check_mesh import mesh_examinations
    from mesh.cli.check_telemetry import telemetry_examinations

    own: dict[str, Examination] = {
        name: partial(ask, running) for name, ask in (project.checks or {}).items()
    }
    return {
        "install": {
            **EXAMINATIONS,
            "ports": partial(_ports, running.data),
            "addresses": partial(_addresses, running),
            "clock": partial(clock, running),
        },
        "mesh": mesh_examinations(running),
        "events": event_examinations(running),
        "telemetry": telemetry_examinations(running),
        project.name: own,
    }


def _found(group: Mapping[str, Examination]) -> list[Finding]:
    return [finding for name, look in group.items() for finding in examined(name, look)]


def _addresses(running: Running) -> str:
    """Whether somebody listens wherever others are told to go."""
    planes = running.endpoints.control_planes
    known = {name: url for name, url in asdict(running.endpoints).items() if name != "registry"}
    known |= {f"control plane {number}": url for number, url in enumerate(planes, 1) if planes[1:]}
    for name, url in known.items():
        host, _, port = url.rpartition("://")[2].rpartition(":")
        try:
            socket.create_connection((host, int(port)), PATIENCE_S).close()
        except OSError as error:
            remedy = "./bank status"
            raise Problem(f"nobody listens at {name}", f"{url}: {error}", remedy) from None
    return f"all {len(known)} addresses answer"


def _python() -> str:
    if sys.version_info < (3, 11):  # noqa: UP036 - that is the question
        raise Problem("Python is too old", sys.version.split()[0], "install Python 3.11 or newer")
    return sys.version.split()[0]


def _packages() -> str:
    for name in ("grpc", "google.rpc.status_pb2", "nats", "protovalidate", "opentelemetry.trace"):
        try:
            importlib.import_module(name)
        except ImportError as error:
            remedy = "remove .venv and run ./bank again"
            raise Problem(f"{name} cannot be imported", str(error), remedy) from None
    return "all can be imported"


def _collision() -> str:
    """xds-protos and opentelemetry-proto own the same files; whichever comes last breaks the other.

    Source: grpc/grpc#42926.
    """
    from importlib.metadata import PackageNotFoundError, version

    try:
        found = version("opentelemetry-proto")
    except PackageNotFoundError:
        return "opentelemetry-proto is absent, as it must be"
    why = f"opentelemetry-proto {found} and xds-protos overwrite each other"
    raise Problem("two packages collide", why, "remove .venv and run ./bank again")


def _ports(data: Path) -> str:
    from mesh.supervisor.ports import Ports, must_be_free

    with contextlib.suppress(Problem):
        return f"taken by what is up, process {Running.find(data).pid}"
    must_be_free(asdict(Ports.shifted()))
    return "all default ports are free"


EXAMINATIONS: dict[str, Examination] = {
    "python": _python,
    "packages": _packages,
    "xds-protos": _collision,
}
