"""tap: one line for every call, as it happens.

It reads the access lines that the processes write anyway: to watch costs the calls nothing.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Any

import typer

from mesh.cli.looking import log_files
from mesh.cli.output import Output, has_colour
from mesh.supervisor.problem import USAGE, Problem
from mesh.supervisor.project import Project
from mesh.supervisor.running import Running, data_dir

__all__ = ["register"]

POLL_S = 0.1
LOGGER = "mesh.rpc"
MESSAGE = "call"
RED = 31


@dataclass(frozen=True)
class Filter:
    """Which calls are shown. `status` is a gRPC status, or `!` and one; `""` is any."""

    method: str = ""
    status: str = ""
    caller: str = ""

    def takes(self, call: dict[str, Any]) -> bool:
        """Tells whether a call is shown."""
        method, code = str(call["method"]), str(call["status"])
        if self.method and not self._fits(method):
            return False
        if self.caller not in ("", call["from"]):
            return False
        wanted = self.status.upper()
        if wanted.startswith("!"):
            return code != wanted[1:]
        return wanted in ("", code)

    def _fits(self, method: str) -> bool:
        pattern = self.method if any(each in self.method for each in "*?[") else f"*{self.method}*"
        return fnmatchcase(method, pattern)


def register(app: typer.Typer, project: Project) -> None:
    """Adds the command."""

    @app.command()
    def tap(
        service: Annotated[str, typer.Argument(help="Only calls to this service.")] = "",
        method: Annotated[str, typer.Option(help="Only methods like this: Get* or Transfer.")] = "",
        status: Annotated[str, typer.Option(help="Only this status: NOT_FOUND, or !OK.")] = "",
        source: Annotated[str, typer.Option("--from", help="Only calls of this workload.")] = "",
        limit: Annotated[int, typer.Option(min=0, help="End after so many lines.")] = 0,
        seconds: Annotated[float, typer.Option("--for", min=0.0, help="End after a time.")] = 0.0,
        output: Annotated[Output, typer.Option()] = Output.TABLE,
    ) -> None:
        """Show every call, live: from, to, method, status, duration, trace."""
        if service and service not in project.services:
            why = f"services: {', '.join(project.services)}"
            raise Problem(f"there is no service {service}", why, "./bank tap", USAGE)
        running = Running.find(data_dir(project.root))
        followed = Followed(running.data / "logs", service)
        until = time.monotonic() + seconds if seconds else float("inf")
        left = limit or float("inf")
        colour = has_colour(sys.stdout)
        for call in _calls(followed, Filter(method, status, source), until):
            print(json.dumps(call) if output is Output.JSON else _line(call, colour), flush=True)
            left -= 1
            if not left:
                return


class Followed:
    """The logs of everything or of a service, from now on; those of new instances too."""

    def __init__(self, folder: Path, service: str) -> None:
        self._folder = folder
        self._service = service
        self._logs = {log.path: log for log in log_files(folder, service)}
        for log in self._logs.values():
            log.skip()

    def new_lines(self) -> Iterator[str]:
        """Gives the lines that were added since the last time."""
        for log in log_files(self._folder, self._service):
            yield from self._logs.setdefault(log.path, log).new_lines()


def _calls(followed: Followed, wanted: Filter, until: float) -> Iterator[dict[str, Any]]:
    while True:
        found = [call for call in map(_call, followed.new_lines()) if call is not None]
        yield from (call for call in sorted(found, key=_time_of) if wanted.takes(call))
        if time.monotonic() >= until:
            return
        time.sleep(POLL_S)


def _time_of(call: dict[str, Any]) -> str:
    return str(call["time"])


def _call(line: str) -> dict[str, Any] | None:
    """Reads the line of a call; None for any other."""
    if f'"{LOGGER}"' not in line:
        return None
    try:
        said = json.loads(line)
    except ValueError:
        return None
    if said.get("logger") != LOGGER or said.get("message") != MESSAGE:
        return None
    return {
        "time": said.get("time", ""),
        "from": said.get("caller") or "?",
        "to": said.get("service", ""),
        "instance": said.get("instance") or said.get("instance_id", ""),
        "method": said.get("rpc.method", ""),
        "status": said.get("rpc.status_code", ""),
        "reason": said.get("reason", ""),
        "ms": said.get("duration_ms", 0.0),
        "trace": said.get("trace_id", ""),
    }


def _line(call: dict[str, Any], colour: bool) -> str:
    where = f"{call['from']} → {call['to']}"
    method = str(call["method"]).rpartition(".")[2]
    status = " ".join(filter(None, [call["status"], call["reason"]]))
    text = (
        f"{str(call['time'])[11:23]} {where:<28} {method:<40} {status:<20} "
        f"{call['ms']:>9.1f}ms  {call['trace']}"
    )
    return f"\x1b[{RED}m{text}\x1b[0m" if colour and call["status"] != "OK" else text
