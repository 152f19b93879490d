"""mesh clients, dump, diff: who follows the control plane, and with what."""

from __future__ import annotations

import difflib
import json
import urllib.request
from base64 import b64decode
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mesh.cli.control import control_plane
from mesh.cli.groups import group
from mesh.cli.output import Output, print_json, print_table
from mesh.cli.sample import pages_of
from mesh.supervisor.problem import USAGE, Problem
from mesh.supervisor.project import Project
from mesh.supervisor.running import Running, data_dir

if TYPE_CHECKING:
    from meshapi.v1 import sight_pb2

__all__ = ["HARM", "register", "state_name"]

TYPES = ("lds", "rds", "cds", "eds")
# From well to ill.
HARM = ("-", "SYNCED", "NOT_SENT", "STALE", "NACKED")
PATIENCE_S = 3.0
LONGEST_DIFF = 2_000

Node = Annotated[str, typer.Argument(help="The process, such as transfers-1.")]
Type = Annotated[str, typer.Option("--type", help="Only lds, rds, cds or eds.")]
OutputForm = Annotated[Output, typer.Option()]


def register(app: typer.Typer, project: Project) -> None:
    """Adds the commands."""
    mesh = group(app, "mesh", "The mesh itself.")

    @mesh.command()
    def clients(
        workload: Annotated[str, typer.Argument(help="Only of this workload.")] = "",
        output: OutputForm = Output.TABLE,
    ) -> None:
        """Show who follows the control plane, and whether they have what they should."""
        with control_plane(_running(project)) as plane:
            found = plane.clients(workload)
        if output is Output.JSON:
            print_json([_facts(client) for client in found])
        else:
            columns = ("NODE", "WORKLOAD", "ZONE", "FOLLOWS", "STATE", *map(str.upper, TYPES), "")
            print_table(columns, map(_cells, found))

    @mesh.command()
    def dump(node: Node, type: Type = "", output: OutputForm = Output.JSON) -> None:
        """Print what a client has accepted, as JSON; as a table, the names and versions."""
        found = _resources(project, node, type)
        if output is Output.JSON:
            print_json([_resource_facts(each) for each in found])
        else:
            columns = ("TYPE", "NAME", "HELD", "CURRENT", "ERROR")
            print_table(columns, [_resource_cells(each) for each in found])

    @mesh.command()
    def diff(node: Node, type: Type = "", output: OutputForm = Output.TABLE) -> None:
        """Print how what a client has differs from what it should have; exit 1 if it does.

        What it has, its core says itself; where that is not to be had, it is what it accepted.
        """
        running = _running(project)
        found = _resources(project, node, type)
        has = _of_core(running, node)
        differences = [each for each in (_difference(one, has) for one in found) if each]
        if output is Output.JSON:
            source = "client" if has is not None else "acknowledged"
            print_json({"source": source, "differences": differences})
        else:
            _print_differences(node, len(found), has is not None, differences)
        raise typer.Exit(1 if differences else 0)


def state_name(state: int) -> str:
    """The state as people read it."""
    from meshapi.v1 import sight_pb2

    name = sight_pb2.SyncState.Name(sight_pb2.SyncState.ValueType(state))
    return "-" if state == 0 else name.removeprefix("SYNC_STATE_")


def _running(project: Project) -> Running:
    return Running.find(data_dir(project.root))


def _resources(project: Project, node: str, type: str) -> list[sight_pb2.ClientResource]:
    if type not in ("", *TYPES):
        why = f"it must be one of {', '.join(TYPES)}"
        raise Problem(f"there is no type {type}", why, f"./bank mesh dump {node} --type cds", USAGE)
    with control_plane(_running(project)) as plane:
        return plane.resources(node, type)


def _cells(client: sight_pb2.Client) -> list[object]:
    states = {each.type: state_name(each.state) for each in client.types}
    names = sorted({name for each in client.types if each.type == "lds" for name in each.names})
    errors = "; ".join(f"{each.type}: {each.error}" for each in client.types if each.error)
    head = [client.node_id, client.workload, client.zone, ",".join(names)]
    own = [states.get(type) for type in TYPES]
    return [*head, state_name(client.state), *own, errors]


def _facts(client: sight_pb2.Client) -> dict[str, Any]:
    return {
        "node": client.node_id,
        "workload": client.workload,
        "zone": client.zone,
        "agent": client.agent,
        "peer": client.peer,
        "connected": client.connect_time.ToJsonString(),
        "state": state_name(client.state),
        "types": {
            each.type: {
                "state": state_name(each.state),
                "names": list(each.names),
                "versionSent": each.version_sent,
                "versionAcknowledged": each.version_acknowledged,
                "error": each.error,
                "refusals": each.refusals,
                "waitingS": each.waiting.ToMilliseconds() / 1e3,
            }
            for each in client.types
        },
    }


def _resource_facts(resource: sight_pb2.ClientResource) -> dict[str, Any]:
    return {
        "type": resource.type,
        "name": resource.name,
        "versionHeld": resource.version_held,
        "versionCurrent": resource.version_current,
        "error": resource.error,
        "resource": json.loads(resource.held_json) if resource.held_json else None,
    }


def _resource_cells(resource: sight_pb2.ClientResource) -> list[object]:
    held, current = resource.version_held or None, resource.version_current or None
    return [resource.type, resource.name, held, current, resource.error]


def _of_core(running: Running, node: str) -> dict[tuple[str, str], dict[str, Any]] | None:
    """What the client's core says that it has, by type and name; None where it does not say."""
    pages = [page for page in pages_of(running) if page.instance == node]
    if not pages:
        return None
    try:
        url = f"http://{pages[0].admin}/debug/xds"
        with urllib.request.urlopen(url, timeout=PATIENCE_S) as answer:
            said = json.load(answer)
    except (OSError, ValueError):
        return None
    from mesh.xds.sight import SHORT

    return {(SHORT[each["type"]], each["name"]): each for each in said if each["type"] in SHORT}


def _difference(
    one: sight_pb2.ClientResource, core: dict[tuple[str, str], dict[str, Any]] | None
) -> dict[str, Any] | None:
    should = json.loads(one.current_json) if one.current_json else None
    error = one.error
    if core is None:
        has = json.loads(one.held_json) if one.held_json else None
    else:
        told = core.get((one.type, one.name), {})
        has, error = _decoded(told), told.get("error") or error
    if has == should and not error:
        return None
    return {
        "type": one.type,
        "name": one.name,
        "error": error,
        "diff": list(difflib.unified_diff(_lines(has), _lines(should), "has", "should have", n=2)),
    }


def _decoded(told: dict[str, str]) -> object:
    from google.protobuf.any_pb2 import Any as Packed
    from google.protobuf.json_format import MessageToDict

    if not told.get("resource"):
        return None
    return MessageToDict(Packed(type_url=told["type"], value=b64decode(told["resource"])))


def _lines(resource: object) -> list[str]:
    if resource is None:
        return []
    return json.dumps(resource, indent=2, sort_keys=True).splitlines()[:LONGEST_DIFF]


def _print_differences(
    node: str, count: int, is_told: bool, differences: list[dict[str, Any]]
) -> None:
    if not differences:
        source = "by its own word" if is_told else "by its acknowledgements"
        print(f"{node} has what it should: {count} resources, {source}")
    for each in differences:
        print(f"{each['type']} {each['name']}  {each['error']}".rstrip())
        for line in each["diff"]:
            print(f"  {line.rstrip()}")
