"""status, logs, version: what is up, and what it says."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from mesh.cli.output import Output, has_colour, print_json, print_table
from mesh.supervisor.problem import USAGE, Problem
from mesh.supervisor.project import Project
from mesh.supervisor.running import Running, data_dir

__all__ = ["LogFile", "log_files", "print_status", "register"]

FOLLOW_S = 0.2


def register(app: typer.Typer, project: Project) -> None:
    """Adds the commands."""

    @app.command()
    def status(output: Annotated[Output, typer.Option()] = Output.TABLE) -> None:
        """Show every service, its instances, and the addresses."""
        found = Running.find(data_dir(project.root)).status()
        if output is Output.JSON:
            print_json(found)
        else:
            print_status(found)

    @app.command()
    def logs(
        service: Annotated[str, typer.Argument(help="Only of this service.")] = "",
        follow: Annotated[bool, typer.Option("-f", "--follow", help="Go on.")] = False,
        trace: Annotated[str, typer.Option(help="Only lines of this trace id.")] = "",
        output: Annotated[Output, typer.Option()] = Output.TABLE,
    ) -> None:
        """Print the logs, of everything or of one service."""
        files = log_files(data_dir(project.root) / "logs", service)
        _print_logs(files, trace, output)
        while follow:
            time.sleep(FOLLOW_S)
            _print_logs(files, trace, output)

    @app.command()
    def version() -> None:
        """Print the version."""
        import platform

        print(f"{project.name} {project.version} (Python {platform.python_version()})")


def print_status(status: dict[str, Any]) -> None:
    """Prints a status as two tables."""
    rows = [
        (
            service["name"],
            instance.get("version") or service["version"] or None,
            instance["id"],
            instance["state"],
            instance["address"],
            instance["pid"],
            instance.get("missing") or "",
        )
        for service in [*status["platform"], *status["services"]]
        for instance in service["instances"]
    ]
    print_table(("SERVICE", "VERSION", "INSTANCE", "STATE", "ADDRESS", "PID", ""), rows)
    print()
    print_table(("ENDPOINT", "ADDRESS"), list(status["endpoints"].items()))


class LogFile:
    """A log file and how far it has been read."""

    def __init__(self, path: Path) -> None:
        self.name = path.stem
        self.path = path
        self._offset = 0

    def skip(self) -> None:
        """Takes what there is as read."""
        self._offset = self.path.stat().st_size

    def new_lines(self) -> list[str]:
        """Reads the whole lines that were added since the last time."""
        size = self.path.stat().st_size
        with self.path.open("rb") as file:
            file.seek(self._offset if size >= self._offset else 0)
            added = file.read()
            whole = added[: added.rfind(b"\n") + 1]
            self._offset = file.tell() - len(added) + len(whole)
        return whole.decode(errors="replace").splitlines()


def log_files(folder: Path, service: str) -> list[LogFile]:
    """Finds the logs of everything, of a service, or of an instance. Raises Problem without any."""
    found = sorted(folder.glob("*.log"))
    chosen = [path for path in found if service in ("", path.stem, path.stem.rpartition("-")[0])]
    if not chosen:
        known = ", ".join(sorted({path.stem.rpartition("-")[0] for path in found})) or "nothing"
        why = f"{folder} has logs of {known}"
        raise Problem(f"no logs of {service or 'anything'}", why, "./bank up", USAGE)
    return [LogFile(path) for path in chosen]


def _print_logs(logs: list[LogFile], trace: str, output: Output) -> None:
    from mesh.supervisor.logs import readable

    lines = [(log.name, line) for log in logs for line in log.new_lines() if trace in line]
    # One stream in order of time; lines that tell no time stay after the one before them.
    lines = [pair for _, pair in sorted(_timed(lines), key=lambda timed: timed[0])]
    colour = has_colour(sys.stdout)
    for name, line in lines:
        if output is Output.JSON:
            print(line)
        else:
            print(readable(name, line, colour))
    sys.stdout.flush()


def _timed(lines: list[tuple[str, str]]) -> list[tuple[str, tuple[str, str]]]:
    timed, last = [], {"": ""}
    for name, line in lines:
        last[name] = _time_of(line) or last.get(name, "")
        timed.append((last[name], (name, line)))
    return timed


def _time_of(line: str) -> str:
    if not line.startswith("{"):
        return ""
    try:
        record = json.loads(line)
    except ValueError:
        return ""
    return str(record.get("time") or "")
