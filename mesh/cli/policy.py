"""mesh policy: what an operator says of the traffic, as a whole, and its history."""

from __future__ import annotations

import getpass
import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mesh.cli import words
from mesh.cli.desk import desk, read_policy
from mesh.cli.groups import group
from mesh.cli.output import Output, print_json, print_table
from mesh.cli.traffic import applied, summary
from mesh.supervisor.project import Project
from mesh.supervisor.running import Running, data_dir

if TYPE_CHECKING:
    from meshapi.v1 import policy_pb2 as pb

__all__ = ["register"]

OutputForm = Annotated[Output, typer.Option()]
File = Annotated[str, typer.Option("-f", "--file", help="JSON or TOML; - reads JSON.")]
Reason = Annotated[str, typer.Option(help="Why; it is kept with the change.")]


def register(app: typer.Typer, project: Project) -> None:
    """Adds the commands."""
    policy = group(
        group(app, "mesh", "The mesh itself."), "policy", "What is said of the traffic, as a whole."
    )
    _register_reading(policy, project)
    _register_comparing(policy, project)
    _register_changing(policy, project)


def _register_reading(policy: typer.Typer, project: Project) -> None:
    @policy.command()
    def get(
        revision: Annotated[int, typer.Option(help="An earlier one.")] = 0,
        output: OutputForm = Output.TABLE,
    ) -> None:
        """Print the policy: a table, or JSON that `apply` takes."""
        from mesh.xds.policy.document import to_json
        from meshapi.v1 import policy_pb2 as pb

        with desk(_running(project)) as at:
            found = at.ask("GetPolicy", pb.GetPolicyRequest(revision=revision))
        if output is Output.JSON:
            print(to_json(found.current.policy))
            return
        print(_line(found.current))
        if found.problem:
            print(f"attention: {found.problem}")
        rows = [
            (told.service, field, text)
            for told in found.current.policy.services
            for field, text in summary(told)
        ]
        print_table(("SERVICE", "FIELD", "WHAT IS SAID"), rows)

    @policy.command()
    def history(
        limit: Annotated[int, typer.Option(help="How many, the newest first.")] = 20,
        output: OutputForm = Output.TABLE,
    ) -> None:
        """List the changes: when, who, why."""
        from meshapi.v1 import policy_pb2 as pb

        with desk(_running(project)) as at:
            request = pb.ListPolicyRevisionsRequest(limit=limit)
            found = at.ask("ListPolicyRevisions", request).revisions
        facts = [_facts(each) for each in found]
        if output is Output.JSON:
            print_json(facts)
        else:
            rows = [
                (each["revision"], each["at"], each["author"], each["reason"]) for each in facts
            ]
            print_table(("REVISION", "AT", "AUTHOR", "REASON"), rows)


def _register_comparing(policy: typer.Typer, project: Project) -> None:
    @policy.command()
    def diff(
        file: File = "",
        old: Annotated[int, typer.Option("--from", help="The older revision.")] = 0,
        new: Annotated[int, typer.Option("--to", help="The newer revision.")] = 0,
    ) -> None:
        """Print how a file differs from the policy, or two revisions; exit 1 if they do."""
        from meshapi.v1 import policy_pb2 as pb

        request = pb.DiffPolicyRequest(from_revision=old, to_revision=new)
        if file:
            request.policy.CopyFrom(read_policy(file))
        with desk(_running(project)) as at:
            lines = at.ask("DiffPolicy", request).lines
        for line in lines:
            print(line)
        raise typer.Exit(1 if lines else 0)

    @policy.command()
    def test(
        service: str,
        method: str,
        header: Annotated[list[str] | None, typer.Option(help="Of the call: x-canary=yes.")] = None,
        zone: Annotated[str, typer.Option(help="Of the caller.")] = "local",
        file: File = "",
        output: OutputForm = Output.TABLE,
    ) -> None:
        """Print what would become of a call, by the policy of now or by a file."""
        from meshapi.v1 import policy_pb2 as pb

        request = pb.TestPolicyRequest(service=service, method=method, zone=zone)
        request.headers.update({each.name: each.exact for each in words.headers(header or [])})
        if file:
            request.policy.CopyFrom(read_policy(file))
        with desk(_running(project)) as at:
            found = at.ask("TestPolicy", request)
        _print_test(found, output)


def _register_changing(policy: typer.Typer, project: Project) -> None:
    @policy.command()
    def apply(
        file: File,
        reason: Reason = "",
        dry_run: Annotated[bool, typer.Option("--dry-run", help="Only validate.")] = False,
        force: Annotated[
            bool, typer.Option("--force", help="Also what a client refuses or ignores.")
        ] = False,
        output: OutputForm = Output.TABLE,
    ) -> None:
        """Replace the policy by a file, unless a client would ignore it or choke on it."""
        with desk(_running(project)) as at:
            response = at.apply(read_policy(file), reason, dry_run=dry_run, force=force)
        applied(response, output, "fit to be applied over" if dry_run else "followed as")

    @policy.command()
    def rollback(
        revision: Annotated[int, typer.Argument(help="The one before, if none is named.")] = 0,
        reason: Reason = "",
        output: OutputForm = Output.TABLE,
    ) -> None:
        """Make an earlier policy the one of now."""
        from meshapi.v1 import policy_pb2 as pb

        request = pb.RollbackPolicyRequest(
            revision=revision, author=getpass.getuser(), reason=reason
        )
        with desk(_running(project)) as at:
            applied(at.ask("RollbackPolicy", request), output)


def _running(project: Project) -> Running:
    return Running.find(data_dir(project.root))


def _line(revision: pb.PolicyRevision) -> str:
    if not revision.revision:
        return "no policy: the contracts alone say how calls are treated"
    facts = _facts(revision)
    reason = f": {facts['reason']}" if facts["reason"] else ""
    return f"revision {facts['revision']}, {facts['at']}, {facts['author']}{reason}"


def _facts(revision: pb.PolicyRevision) -> dict[str, Any]:
    return {
        "revision": revision.revision,
        "at": f"{revision.applied_at.ToDatetime():%Y-%m-%d %H:%M:%S} UTC",
        "author": revision.author,
        "reason": revision.reason,
    }


def _print_test(found: pb.TestPolicyResponse, output: Output) -> None:
    from google.protobuf.json_format import MessageToDict

    if output is Output.JSON:
        print_json(MessageToDict(found, preserving_proto_field_name=True))
        return
    rows = [
        (each.version or "any", f"{each.percent:g} %", " ".join(each.instances) or "none")
        for each in found.destinations
    ]
    print_table(("VERSION", "CALLS", "INSTANCES"), rows)
    print()
    print(f"route   {found.route or 'none: the split'}")
    for name, told in (("retry", found.retry), ("fault", found.fault)):
        text = json.dumps(MessageToDict(told, preserving_proto_field_name=True))
        print(f"{name}   {text if found.HasField(name) else 'none'}")  # type: ignore[arg-type]
    if found.hash_header:
        print(f"sticky  by {found.hash_header}")
