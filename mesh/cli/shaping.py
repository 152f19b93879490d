"""mesh mirror, retry, circuit, sticky, zones: one field of what is said of a service, replaced."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from mesh.cli import words
from mesh.cli.groups import group
from mesh.cli.output import Output
from mesh.cli.traffic import Clear, OutputForm, Reason, change
from mesh.supervisor.problem import USAGE, Problem
from mesh.supervisor.project import Project

if TYPE_CHECKING:
    from google.protobuf.message import Message

    from meshapi.v1 import policy_pb2 as pb

__all__ = ["register"]

Methods = Annotated[list[str] | None, typer.Option("--method", help="Only this method.")]


def register(app: typer.Typer, project: Project) -> None:
    """Adds the commands."""
    mesh = group(app, "mesh", "The mesh itself.")
    _register_mirror(mesh, project)
    _register_retry(mesh, project)
    _register_circuit(mesh, project)
    _register_sticky(mesh, project)
    _register_zones(mesh, project)


def _register_mirror(mesh: typer.Typer, project: Project) -> None:
    @mesh.command()
    def mirror(
        service: str,
        to: Annotated[str, typer.Option(help="The version that gets the copies.")] = "",
        other: Annotated[str, typer.Option("--service", help="Or another service.")] = "",
        percent: Annotated[float, typer.Option(help="Of the calls.")] = 100.0,
        method: Methods = None,
        side_effects: Annotated[
            bool, typer.Option("--with-side-effects", help="Named methods that change something.")
        ] = False,
        clear: Clear = False,
        reason: Reason = "",
        output: OutputForm = Output.TABLE,
    ) -> None:
        """Copy calls that change nothing elsewhere; nobody waits for the answers."""
        from meshapi.v1 import policy_pb2 as pb

        new = pb.Mirror(
            to=to,
            service=other,
            percent=percent,
            methods=method or [],
            with_side_effects=side_effects,
        )
        said = bool(to or other)
        what = f"mirror {percent:g} % of {service} to {to or other}"
        _replace(project, service, "mirror", new if said else None, clear, reason or what, output)


def _register_retry(mesh: typer.Typer, project: Project) -> None:
    @mesh.command()
    def retry(
        target: Annotated[str, typer.Argument(help="SERVICE, or SERVICE/Method.")],
        times: Annotated[int, typer.Option(help="At most, 1 to 4.")] = 0,
        after: Annotated[
            list[str] | None, typer.Option("--after", help="unavailable, cancelled, …")
        ] = None,
        pause: Annotated[str, typer.Option(help="Before the first, doubled then.")] = "",
        off: Annotated[bool, typer.Option("--off", help="Never repeat.")] = False,
        clear: Clear = False,
        reason: Reason = "",
        output: OutputForm = Output.TABLE,
    ) -> None:
        """Say how often idempotent calls are repeated, before all other rules."""
        from meshapi.v1 import policy_pb2 as pb

        service, _, method = target.partition("/")
        new = pb.RetryRule(off=off, num_retries=times, retry_on=after or [])
        if pause:
            new.base_interval.FromTimedelta(words.span(pause))
        if (new != pb.RetryRule()) == clear:
            raise Problem("nothing is said", "say --times, --off, or --clear", "--times 2", USAGE)
        new.methods.extend([method] if method else [])

        def put(told: pb.ServicePolicy) -> None:
            others = [each for each in told.retries if each.methods != new.methods]
            kept = others if method or not clear else []
            del told.retries[:]
            told.retries.extend(kept if clear else [new, *kept])

        change(project, service, put, reason or f"repetition of {target}", output)


def _register_circuit(mesh: typer.Typer, project: Project) -> None:
    @mesh.command()
    def circuit(
        service: str,
        most: Annotated[int, typer.Option(help="Calls that one process may have running.")] = 0,
        clear: Clear = False,
        reason: Reason = "",
        output: OutputForm = Output.TABLE,
    ) -> None:
        """Bound what one process may ask at once; the rest fails at once."""
        from meshapi.v1 import policy_pb2 as pb

        new = pb.CircuitBreaker(max_requests=most) if most else None
        what = f"circuit breaker of {service}"
        _replace(project, service, "circuit_breaker", new, clear, reason or what, output)


def _register_sticky(mesh: typer.Typer, project: Project) -> None:
    @mesh.command()
    def sticky(
        service: str,
        header: Annotated[str, typer.Option(help="The same value, the same instance.")] = "",
        clear: Clear = False,
        reason: Reason = "",
        output: OutputForm = Output.TABLE,
    ) -> None:
        """Send calls with the same value of a header to the same instance."""
        from meshapi.v1 import policy_pb2 as pb

        ring = pb.LOAD_BALANCER_RING_HASH
        new = pb.LoadBalancing(algorithm=ring, hash_header=header.lower()) if header else None
        what = f"sticky {service} {header}"
        _replace(project, service, "load_balancing", new, clear, reason or what, output)


def _register_zones(mesh: typer.Typer, project: Project) -> None:
    @mesh.command()
    def zones(
        service: str,
        weights: Annotated[list[str] | None, typer.Argument(help="a=1 b=2")] = None,
        own_first: Annotated[bool, typer.Option("--own-first", help="The caller's zone.")] = False,
        then: Annotated[list[str] | None, typer.Option(help="The zone after it.")] = None,
        clear: Clear = False,
        reason: Reason = "",
        output: OutputForm = Output.TABLE,
    ) -> None:
        """Prefer the caller's own zone, or share calls between zones."""
        from meshapi.v1 import policy_pb2 as pb

        new = pb.ZonePreference(own_first=own_first, failover=then or [])
        for share in words.shares(weights or []):
            new.weights.add(zone=share.version, weight=share.weight)
        said = new if new != pb.ZonePreference() else None
        what = f"zones of {service}"
        _replace(project, service, "zones", said, clear, reason or what, output)


def _replace(
    project: Project,
    service: str,
    field: str,
    new: Message | None,
    clear: bool,
    reason: str,
    output: Output,
) -> None:
    if (new is not None) == clear:
        raise Problem("nothing is said", "say something, or --clear", "--help", USAGE)

    def put(told: Any) -> None:
        told.ClearField(field)
        if new is not None:
            getattr(told, field).CopyFrom(new)

    change(project, service, put, reason, output)
