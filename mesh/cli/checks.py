"""check and doctor: is the system well, and is this machine fit for it?"""

from __future__ import annotations

import contextlib
import importlib
import sys
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from mesh.cli.output import Output, print_json
from mesh.supervisor.problem import Problem
from mesh.supervisor.project import Project
from mesh.supervisor.running import Running, data_dir

__all__ = ["register"]

Found = tuple[str, bool, str]


def register(app: typer.Typer, project: Project) -> None:
    """Adds the commands."""

    @app.command()
    def check(output: Annotated[Output, typer.Option()] = Output.TABLE) -> None:
        """Check that all is well with what is up; exit 1 if not."""
        running = Running.find(data_dir(project.root))
        found = _services(running)
        for name, ask in (project.checks or {}).items():
            found.append(_tried(name, partial(ask, running)))
        raise typer.Exit(_told(found, output))

    @app.command()
    def doctor(output: Annotated[Output, typer.Option()] = Output.TABLE) -> None:
        """Check that this machine is fit to run it; exit 1 if not."""
        found = [_tried(name, ask) for name, ask in EXAMINATIONS.items()]
        found.append(_tried("ports", lambda: _ports(data_dir(project.root))))
        raise typer.Exit(_told(found, output))


def _tried(name: str, ask: Callable[[], str]) -> Found:
    try:
        return name, True, ask()
    except Problem as problem:
        return name, False, f"{problem.what}: {problem.why} → {problem.remedy}"


def _told(found: list[Found], output: Output) -> int:
    if output is Output.JSON:
        print_json([{"check": name, "ok": ok, "found": text} for name, ok, text in found])
    else:
        for name, ok, text in found:
            print(f"{'✓' if ok else '✗'} {name:<16} {text}")
    return 0 if all(ok for _, ok, _ in found) else 1


def _services(running: Running) -> list[Found]:
    found: list[Found] = []
    status = running.status()
    for service in [*status["platform"], *status["services"]]:
        instances = service["instances"]
        ready = [each for each in instances if each["state"] == "READY"]
        ok = bool(instances) and len(ready) == len(instances)
        lacks = "; ".join(each["missing"] for each in instances if each["missing"])
        text = f"{len(ready)} of {len(instances)} ready"
        found.append((service["name"], ok, f"{text}: {lacks}" if lacks else text))
    return found


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


EXAMINATIONS: dict[str, Callable[[], str]] = {
    "python": _python,
    "packages": _packages,
    "xds-protos": _collision,
}
