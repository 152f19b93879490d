"""mesh canary: a shift of traffic that watches itself."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mesh.cli import words
from mesh.cli.control import control_plane
from mesh.cli.desk import Desk, desk
from mesh.cli.groups import group
from mesh.cli.output import Output, print_json, print_table
from mesh.cli.traffic import applied
from mesh.supervisor.problem import USAGE, Problem
from mesh.supervisor.project import Project
from mesh.supervisor.running import Running, data_dir

if TYPE_CHECKING:
    from meshapi.v1 import policy_pb2 as pb

__all__ = ["register"]

LOOK_S = 0.5
STEPS = "5:30s,25:30s,50:30s"


def register(app: typer.Typer, project: Project) -> None:
    """Adds the command."""
    mesh = group(app, "mesh", "The mesh itself.")

    @mesh.command()
    def canary(
        service: str,
        to: Annotated[str, typer.Option(help="The version that is to take over.")] = "",
        old: Annotated[str, typer.Option("--from", help="The version of before.")] = "",
        steps: Annotated[str, typer.Option(help="Percent and time of each step.")] = STEPS,
        max_errors: Annotated[float, typer.Option(help="Points above the old version's.")] = 1.0,
        min_calls: Annotated[int, typer.Option(help="Calls to judge a step by.")] = 20,
        max_latency: Annotated[
            float, typer.Option(help="Times the old version's p99; 0: any.")
        ] = 0.0,
        invariant: Annotated[
            list[str] | None, typer.Option(help="What must hold: METRIC[@SERVICE]=0, or =0..5.")
        ] = None,
        stop: Annotated[bool, typer.Option("--stop", help="Back to the old version.")] = False,
        wait: Annotated[
            bool, typer.Option("--wait", help="Until it ends; 1 if taken back.")
        ] = False,
        reason: Annotated[str, typer.Option(help="Why; it is kept with the change.")] = "",
        output: Annotated[Output, typer.Option()] = Output.TABLE,
    ) -> None:
        """Shift traffic to a version in steps, and back if it fails; alone, show how it stands."""
        from meshapi.v1 import policy_pb2 as pb

        running = Running.find(data_dir(project.root))
        with desk(running) as at:
            if stop:
                applied(at.change(service, _stopped, reason or "canary stopped"), output)
            elif to:
                told = pb.Canary(
                    to=to,
                    max_error_percent=max_errors,
                    minimum_calls=min_calls,
                    max_latency_factor=max_latency,
                    invariants=words.bounds(invariant or []),
                )
                setattr(told, "from", old or _other_version(running, service, to))
                told.steps.extend(words.steps(steps))

                def start(policy: pb.ServicePolicy) -> None:
                    policy.canary.CopyFrom(told)

                response = at.change(service, start, reason or f"canary to {to}: {steps}")
                if not wait:
                    applied(response, output)
            if wait or not (to or stop):
                raise typer.Exit(_show(at, service, output, wait=wait))


def _stopped(told: pb.ServicePolicy) -> None:
    if not told.HasField("canary"):
        why = "none is under way or remembered"
        raise Problem(f"{told.service} has no canary", why, "--to v2 starts one", USAGE)
    version = getattr(told.canary, "from")
    del told.split[:]
    told.split.add(version=version, weight=100)
    told.ClearField("canary")


def _other_version(running: Running, service: str, to: str) -> str:
    with control_plane(running) as plane:
        instances = [each for each in plane.instances() if each.service == service]
    others = {each.version for each in instances} - {to}
    if len(others) != 1:
        known = ", ".join(sorted(others)) or "none"
        why = f"{service} runs these other versions: {known}"
        raise Problem("the version of before is not clear", why, "--from VERSION", USAGE)
    return others.pop()


def _show(at: Desk, service: str, output: Output, *, wait: bool) -> int:
    from meshapi.v1 import policy_pb2 as pb

    while True:
        canaries = at.ask("GetPolicy", pb.GetPolicyRequest()).canaries
        found = next((each for each in canaries if each.service == service), None)
        if found is None:
            raise Problem(f"{service} has no canary", "nobody started one", "--to v2", USAGE)
        ended = found.canary.state in (pb.CANARY_STATE_PROMOTED, pb.CANARY_STATE_ROLLED_BACK)
        if ended or not wait:
            break
        time.sleep(LOOK_S)
    facts = _facts(found)
    if output is Output.JSON:
        print_json(facts)
    else:
        print_table(tuple(key.upper() for key in facts), [tuple(facts.values())])
    return 1 if found.canary.state == pb.CANARY_STATE_ROLLED_BACK else 0


def _facts(status: pb.CanaryStatus) -> dict[str, Any]:
    from meshapi.v1 import policy_pb2 as pb

    canary, old = status.canary, getattr(status, "from")
    state = pb.CanaryState.Name(canary.state).removeprefix("CANARY_STATE_")
    steps = canary.steps
    return {
        "service": status.service,
        "from": getattr(canary, "from"),
        "to": canary.to,
        "state": "BEGINS" if canary.state == pb.CANARY_STATE_UNSPECIFIED else state,
        "step": f"{canary.step + 1}/{len(steps)}",
        "errors": f"{status.to.errors}/{status.to.ended}",
        "before": f"{old.errors}/{old.ended}",
        "p99": f"{status.to.p99_ms:.0f}/{old.p99_ms:.0f} ms" if canary.max_latency_factor else "-",
        "why": canary.outcome or (status.waiting_for and f"waits for {status.waiting_for}"),
    }
