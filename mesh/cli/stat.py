"""stat, top, routes: how the calls go, from the metrics of the processes themselves."""

from __future__ import annotations

import json
import sys
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mesh.cli.output import Output, print_json, print_table
from mesh.cli.rates import Rates, edge_rates, method_rates, request_rates, service_rates
from mesh.cli.sample import Page, Sample, Window, look, pages_of
from mesh.supervisor.problem import USAGE, Problem
from mesh.supervisor.project import Project
from mesh.supervisor.running import Running, data_dir

if TYPE_CHECKING:
    from google.protobuf.descriptor import MethodDescriptor

    from mesh.cli.handshake import Shown

__all__ = ["register", "windows_of"]

TOP_WINDOW_S = 5.0
RATES = ("SUCCESS", "RPS", "P50", "P95", "P99")

Seconds = Annotated[float, typer.Option("--window", min=0.1, help="How long to look, in seconds.")]
OutputForm = Annotated[Output, typer.Option()]


def register(app: typer.Typer, project: Project) -> None:
    """Adds the commands."""

    @app.command()
    def stat(
        service: Annotated[str, typer.Argument(help="Only this service.")] = "",
        window: Seconds = 2.0,
        output: OutputForm = Output.TABLE,
    ) -> None:
        """Show how each service does: success, rate, latency, retries, mTLS, xDS."""
        rows = _stat(_running(project, service), service, window)
        if output is Output.JSON:
            print_json([row.facts() for row in rows])
        else:
            print_table(StatRow.COLUMNS, (row.cells() for row in rows))

    @app.command()
    def top(
        once: Annotated[bool, typer.Option("--once", help="Print one frame, and end.")] = False,
        every: Annotated[float, typer.Option(min=0.1, help="Seconds between frames.")] = 1.0,
        output: OutputForm = Output.TABLE,
    ) -> None:
        """Show who calls which method how often, live, the busiest first."""
        running = _running(project)
        frames = _frames(running, every)
        if once or output is Output.JSON or not sys.stdout.isatty():
            for frame in islice(frames, 1 if once else None):
                _print_frame(frame, output)
        else:
            _show(frames)

    @app.command()
    def routes(
        service: Annotated[str, typer.Argument(help="The service.")],
        window: Seconds = 2.0,
        output: OutputForm = Output.TABLE,
    ) -> None:
        """Show the methods of a service: what the contract says of them, and how they do."""
        running = _running(project, service)
        found = _routes(project, service, windows_of(running, service, window))
        if output is Output.JSON:
            print_json(found)
        else:
            columns = ("METHOD", "DEADLINE", "RETRIABLE", "ACCESS", "CALLERS", *RATES)
            print_table(columns, map(_route_cells, found))


def windows_of(running: Running, service: str, seconds: float) -> list[Window]:
    """Watches the processes of a service, or of all, for a while."""
    pages = pages_of(running, service)
    before = look(pages)
    time.sleep(seconds)
    return _between(before, look(pages))


def _between(before: dict[str, Sample], after: dict[str, Sample]) -> list[Window]:
    return [Window.between(before[name], after[name]) for name in after if name in before]


def _running(project: Project, service: str = "") -> Running:
    if service and service not in project.services:
        why = f"services: {', '.join(project.services)}"
        raise Problem(f"there is no service {service}", why, "./bank stat", USAGE)
    return Running.find(data_dir(project.root))


@dataclass(frozen=True)
class StatRow:
    """One version of a service. `mtls` is None where no gRPC is served."""

    service: str
    version: str
    ready: int
    instances: int
    mtls: bool | None
    rates: Rates
    retries: float | None
    ejected: tuple[str, ...]
    xds: str

    COLUMNS = ("SERVICE", "VERSION", "INST", "MTLS", *RATES, "RETRY", "EJECTED", "XDS")

    def cells(self) -> Sequence[object]:
        """The row of the table."""
        mtls = None if self.mtls is None else "yes" if self.mtls else "NO"
        retries = None if self.retries is None else f"{self.retries:.1%}"
        ejected = ",".join(self.ejected) or None
        ready = f"{self.ready}/{self.instances}"
        head = (self.service, self.version, ready, mtls)
        return (*head, *self.rates.cells(), retries, ejected, self.xds)

    def facts(self) -> dict[str, object]:
        """The row as JSON."""
        return {
            "service": self.service,
            "version": self.version,
            "ready": self.ready,
            "instances": self.instances,
            "mtls": self.mtls,
            **self.rates.facts(),
            "retries": self.retries,
            "ejected": list(self.ejected),
            "xds": self.xds,
        }


def _stat(running: Running, service: str, seconds: float) -> list[StatRow]:
    # All processes: what became of calls to one service, its callers know.
    windows = windows_of(running, "", seconds)
    versions = {window.page.instance: window.version for window in windows}
    all_pages = pages_of(running)
    states, shown = _states(running), _handshakes(running, all_pages)
    rows: list[StatRow] = []
    for name in dict.fromkeys(page.service for page in all_pages):
        if service not in ("", name):
            continue
        # One that does not answer is of the version that it was started as.
        own = [(versions.get(p.instance, p.version), p) for p in all_pages if p.service == name]
        tried = [each for window in windows for each in window.attempts if each.service == name]
        calls, attempts = sum(t.calls for t in tried), sum(t.attempts for t in tried)
        ejected = {address for each in tried for address in each.ejected}
        for version in sorted({version for version, _ in own}):
            pages = [page for known, page in own if known == version]
            instances = {page.instance for page in pages}
            served = [shown[page.instance] for page in pages if page.instance in shown]
            rows.append(
                StatRow(
                    service=name,
                    version=version,
                    ready=sum(page.state == "READY" for page in pages),
                    instances=len(pages),
                    mtls=all(map(_is_mutual, served)) if served else None,
                    rates=service_rates(w for w in windows if w.page.instance in instances),
                    retries=max(0.0, attempts / calls - 1) if calls else None,
                    ejected=tuple(p.instance for p in pages if p.address in ejected),
                    xds=states.get(name, "-"),
                )
            )
    return rows


def _is_mutual(shown: Shown) -> bool:
    return not shown.problem and shown.is_mutual


def _states(running: Running) -> dict[str, str]:
    """The worst state of each workload's streams."""
    from mesh.cli.clients import HARM, state_name
    from mesh.cli.control import control_plane

    with control_plane(running) as plane:
        found: dict[str, str] = {}
        for client in plane.clients():
            state = state_name(client.state)
            found[client.workload] = max(found.get(client.workload, state), state, key=HARM.index)
    return found


def _handshakes(running: Running, pages: Iterable[Page]) -> dict[str, Shown]:
    """What the instances that are registered show, by instance."""
    from mesh.cli.control import control_plane, operator_identity
    from mesh.cli.handshake import handshake

    with control_plane(running) as plane:
        registered = {each.address for each in plane.instances()}
    identity = operator_identity(running)
    return {
        page.instance: handshake(page.address, identity)
        for page in pages
        if page.address in registered
    }


Frame = list[dict[str, Any]]


def _frames(running: Running, every: float) -> Iterator[Frame]:
    """Frames of `top`, each over the last seconds."""
    samples: deque[dict[str, Sample]] = deque([look(pages_of(running))])
    kept = max(1, round(TOP_WINDOW_S / every))
    while True:
        time.sleep(every)
        samples.append(look(pages_of(running)))
        while len(samples) > kept + 1:
            samples.popleft()
        yield _frame(_between(samples[0], samples[-1]))


def _frame(windows: list[Window]) -> Frame:
    tallies = [(key, tally.rates) for key, tally in edge_rates(windows).items()]
    for window in windows:
        for (verb, route), tally in request_rates([window]).items():
            tallies.append((("outside", window.page.service, f"{verb} {route}"), tally.rates))
    rows = [
        {"from": caller, "to": service, "method": method, **rates.facts(), "cells": rates.cells()}
        for (caller, service, method), rates in tallies
        if rates.calls
    ]
    return sorted(rows, key=lambda row: (-row["calls"], row["from"], row["to"], row["method"]))


TOP_COLUMNS = ("FROM", "TO", "METHOD", *RATES)


def _top_cells(row: dict[str, Any]) -> Sequence[str]:
    method = str(row["method"])
    short = method if " " in method else method.rpartition(".")[2]
    return tuple(cell or "-" for cell in (row["from"], row["to"], short, *row["cells"]))


def _print_frame(frame: Frame, output: Output) -> None:
    if output is Output.JSON:
        # A line for each frame.
        rows = [{key: row[key] for key in row if key != "cells"} for row in frame]
        print(json.dumps(rows, ensure_ascii=False))
    else:
        print_table(TOP_COLUMNS, map(_top_cells, frame))
    sys.stdout.flush()


def _show(frames: Iterator[Frame]) -> None:
    from rich.live import Live
    from rich.table import Table

    with Live(auto_refresh=False, screen=False) as live:
        for frame in frames:
            table = Table(*TOP_COLUMNS, box=None, pad_edge=False)
            for row in frame:
                table.add_row(*_top_cells(row))
            for column in table.columns:
                column.no_wrap = True
            live.update(table, refresh=True)


def _routes(project: Project, service: str, windows: list[Window]) -> list[dict[str, Any]]:
    from mesh.cli.calls import methods

    known = methods(project.root, project.contracts).values()
    own = [each for each in known if _serves(service, each)]
    tallies = method_rates(windows)
    return [_route(each, tallies) for each in own]


def _serves(service: str, method: MethodDescriptor) -> bool:
    return bool(method.containing_service.file.package.split(".")[-2] == service)


def _route(method: MethodDescriptor, tallies: dict[tuple[str, ...], Any]) -> dict[str, Any]:
    from mesh.rpc.policy import policy_of
    from meshapi.v1 import options_pb2

    policy = policy_of(method)
    tally = tallies.get((policy.path.removeprefix("/"),))
    rates = tally.rates if tally else Rates()
    return {
        "method": policy.path,
        "deadlineS": policy.timeout_s,
        "retriable": policy.retriable,
        "access": options_pb2.Access.Name(policy.access).removeprefix("ACCESS_"),
        "callers": sorted(policy.callers),
        **rates.facts(),
        "cells": rates.cells(),
    }


def _route_cells(route: dict[str, Any]) -> Sequence[object]:
    return (
        str(route["method"]).rpartition(".")[2],
        f"{route['deadlineS']:g}s",
        "yes" if route["retriable"] else "no",
        route["access"],
        ",".join(route["callers"]) or "any",
        *route["cells"],
    )
