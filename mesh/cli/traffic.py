"""mesh split, route, fault, outlier: one thing said of one service's traffic."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mesh.cli import words
from mesh.cli.desk import desk
from mesh.cli.groups import group
from mesh.cli.output import Output, print_json
from mesh.clock import now_us
from mesh.supervisor.problem import USAGE, Problem
from mesh.supervisor.project import Project
from mesh.supervisor.running import Running, data_dir

if TYPE_CHECKING:
    from meshapi.v1 import policy_pb2 as pb

__all__ = ["Clear", "OutputForm", "Reason", "applied", "change", "register", "summary"]

OutputForm = Annotated[Output, typer.Option()]
Reason = Annotated[str, typer.Option(help="Why; it is kept with the change.")]
Clear = Annotated[bool, typer.Option("--clear", help="Say nothing of it any more.")]
Header = Annotated[
    list[str] | None, typer.Option(help="Only calls with it: x-a=b, x-a^=begin, x-a~=re, x-a.")
]


def register(app: typer.Typer, project: Project) -> None:
    """Adds the commands."""
    mesh = group(app, "mesh", "The mesh itself.")
    _register_split(mesh, project)
    _register_route(mesh, project)
    _register_fault(mesh, project)
    _register_outlier(mesh, project)


def _register_split(mesh: typer.Typer, project: Project) -> None:
    @mesh.command()
    def split(
        service: str,
        weights: Annotated[list[str] | None, typer.Argument(help="v1=90 v2=10")] = None,
        clear: Clear = False,
        reason: Reason = "",
        output: OutputForm = Output.TABLE,
    ) -> None:
        """Share calls between versions."""
        found = words.shares(weights or [])
        if bool(found) == clear:
            raise Problem("nothing is said", "name versions, or --clear", "v1=90 v2=10", USAGE)

        def put(told: pb.ServicePolicy) -> None:
            del told.split[:]
            told.split.extend(found)
            # An operator's word ends what the control plane was doing.
            told.ClearField("canary")

        change(
            project,
            service,
            put,
            reason or f"split {service} {' '.join(weights or ['--clear'])}",
            output,
        )


def _register_route(mesh: typer.Typer, project: Project) -> None:
    @mesh.command()
    def route(
        service: str,
        to: Annotated[str, typer.Option(help="The version.")] = "",
        method: Annotated[list[str] | None, typer.Option(help="Only this method.")] = None,
        header: Header = None,
        name: Annotated[str, typer.Option(help="Of the route; the same name replaces it.")] = "",
        clear: Clear = False,
        reason: Reason = "",
        output: OutputForm = Output.TABLE,
    ) -> None:
        """Send certain calls to a version, before all other routes; --clear may take a name."""
        from meshapi.v1 import policy_pb2 as pb

        if bool(to) == clear:
            raise Problem("nothing is said", "say --to VERSION, or --clear", "--to v2", USAGE)
        called = name or " ".join([*(method or []), *(header or [])]) or "all"
        new = pb.TrafficRoute(
            name=called, methods=method or [], headers=words.headers(header or [])
        )
        new.to.add(version=to, weight=1)

        def put(told: pb.ServicePolicy) -> None:
            others = [each for each in told.routes if each.name != called]
            del told.routes[:]
            if clear:
                told.routes.extend(others if name else [])
            else:
                told.routes.extend([new, *others])

        what = (
            f"route {service} {called} to {to}"
            if to
            else f"routes of {service} cleared: {name or 'all'}"
        )
        change(project, service, put, reason or what, output)


def _register_fault(mesh: typer.Typer, project: Project) -> None:
    @mesh.command()
    def fault(
        target: Annotated[str, typer.Argument(help="SERVICE, or SERVICE/Method.")],
        what: Annotated[
            list[str] | None, typer.Argument(help="abort=UNAVAILABLE:10% delay=100ms:50%")
        ] = None,
        header: Header = None,
        lasting: Annotated[str, typer.Option("--for", help="How long, at most a day.")] = "60s",
        clear: Clear = False,
        reason: Reason = "",
        output: OutputForm = Output.TABLE,
    ) -> None:
        """Inject a fault at the callers, before all other faults; it ends by itself."""
        service, _, method = target.partition("/")
        new = words.fault(what or [])
        if bool(what) == clear:
            raise Problem(
                "nothing is said", "name a fault, or --clear", "abort=UNAVAILABLE:10%", USAGE
            )
        new.methods.extend([method] if method else [])
        new.headers.extend(words.headers(header or []))
        new.expires_at.FromDatetime(datetime.now().astimezone() + words.span(lasting))

        def put(told: pb.ServicePolicy) -> None:
            others = [
                each
                for each in told.faults
                if (each.methods, each.headers) != (new.methods, new.headers)
            ]
            del told.faults[:]
            kept = others if method or header or not clear else []
            told.faults.extend(kept if clear else [new, *kept])

        gate = f" if {' '.join(header)}" if header else ""
        said = f"fault {target} {' '.join(what or ['--clear'])}{gate}"
        said += "" if clear else f" for {lasting}"
        change(project, service, put, reason or said, output)


def _register_outlier(mesh: typer.Typer, project: Project) -> None:
    @mesh.command()
    def outlier(
        service: str,
        failures: Annotated[int, typer.Option(help="Percent of its calls that fail.")] = 0,
        calls: Annotated[int, typer.Option(help="Calls in an interval, at least.")] = 0,
        interval: Annotated[str, typer.Option(help="How often it is judged.")] = "",
        ejection: Annotated[str, typer.Option(help="How long it is left alone.")] = "",
        most: Annotated[int, typer.Option(help="Percent ejected at once, at most.")] = 0,
        off: Annotated[bool, typer.Option("--off", help="Never eject.")] = False,
        clear: Clear = False,
        reason: Reason = "",
        output: OutputForm = Output.TABLE,
    ) -> None:
        """Say when an instance that fails is left alone for a while."""
        from meshapi.v1 import policy_pb2 as pb

        new = pb.OutlierEjection(
            off=off, failure_percent=failures, minimum_calls=calls, most_ejected_percent=most
        )
        if interval:
            new.interval.FromTimedelta(words.span(interval))
        if ejection:
            new.ejection.FromTimedelta(words.span(ejection))
        if (new != pb.OutlierEjection()) == clear:
            raise Problem("nothing is said", "say something, or --clear", "--failures 60", USAGE)

        def put(told: pb.ServicePolicy) -> None:
            told.ClearField("outlier")
            if not clear:
                told.outlier.CopyFrom(new)

        change(project, service, put, reason or f"outlier ejection of {service}", output)


def applied(
    response: pb.ApplyPolicyResponse | pb.RollbackPolicyResponse,
    output: Output,
    how: str = "followed as",
) -> None:
    """Prints what became of a change."""
    revision = response.current.revision
    warnings = list(getattr(response, "warnings", ()))
    if output is Output.JSON:
        print_json({"revision": revision, "warnings": warnings})
        return
    print(f"{how} revision {revision}")
    for warning in warnings:
        print(f"attention: {warning}")


def summary(told: pb.ServicePolicy) -> Iterator[tuple[str, str]]:
    """What is said of a service, a line for each thing."""
    from google.protobuf.json_format import MessageToDict

    fields: dict[str, Any] = MessageToDict(told, preserving_proto_field_name=True)
    del fields["service"]
    for field, value in fields.items():
        if field == "split":
            yield field, " ".join(f"{each.version}={each.weight}" for each in told.split)
            continue
        for number, each in enumerate(value if isinstance(value, list) else [value]):
            ended = (
                field == "faults" and told.faults[number].expires_at.ToMicroseconds() <= now_us()
            )
            yield field, json.dumps(each) + (" (over)" if ended else "")


def change(
    project: Project,
    service: str,
    put: Callable[[pb.ServicePolicy], None],
    reason: str,
    output: Output,
) -> None:
    """Changes what is said of a service, and prints what became of it."""
    with desk(Running.find(data_dir(project.root))) as at:
        applied(at.change(service, put, reason), output)
