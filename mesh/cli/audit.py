"""audit: who has changed what, and whether anybody has changed that since."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mesh.cli.output import Output, print_json, print_table
from mesh.supervisor.files import write_private
from mesh.supervisor.problem import USAGE, Problem
from mesh.supervisor.project import Project
from mesh.supervisor.running import Running, data_dir

if TYPE_CHECKING:
    from google.protobuf.message import Message

    from meshapi.v1 import audit_pb2

__all__ = ["register"]

HEADS_FILE = "audit-heads.json"

ServiceArgument = Annotated[str, typer.Argument(help="One service only.")]
OutputOption = Annotated[Output, typer.Option()]
COLUMNS = ("TIME", "SERVICE", "NUMBER", "WHO", "METHOD", "SUBJECT", "OUTCOME", "REASON")


def register(app: typer.Typer, project: Project) -> None:
    """Adds the commands."""
    audit = typer.Typer(help="Who has changed what.", no_args_is_help=True, rich_markup_mode=None)
    app.add_typer(audit, name="audit")

    @audit.command()
    def verify(
        service: ServiceArgument = "",
        heads: Annotated[
            Path | None, typer.Option(help="Where the heads are kept from time to time.")
        ] = None,
        output: OutputOption = Output.TABLE,
    ) -> None:
        """Check that no record was changed, removed or moved; exit 1 if one was.

        The heads that it prints are kept, and must be there again the next time.
        """
        data = data_dir(project.root)
        running = Running.find(data)
        file = heads or data / HEADS_FILE
        kept = _kept(file)
        found = {name: _verified(running, name, kept) for name in _services(project, service)}
        whole = {name: each for name, each in found.items() if not each["flaws"]}
        # A broken chain is held against what it was before, until it is that again.
        write_private(file, json.dumps(kept | {name: _head(whole[name]) for name in whole}))
        _print_verified(found, output)
        raise typer.Exit(0 if len(whole) == len(found) else 1)

    @audit.command()
    def search(
        service: ServiceArgument = "",
        user: Annotated[str, typer.Option(help="Who has called.")] = "",
        subject: Annotated[str, typer.Option(help="What it was about.")] = "",
        company: Annotated[str, typer.Option(help="The company that it was about.")] = "",
        method: Annotated[str, typer.Option(help="A method, such as SignIn.")] = "",
        since: Annotated[str, typer.Option(help="2027-03-01T12:00:00Z")] = "",
        until: Annotated[str, typer.Option(help="2027-03-01T12:00:00Z")] = "",
        limit: Annotated[int, typer.Option(help="How many of each service.", max=200)] = 50,
        output: OutputOption = Output.TABLE,
    ) -> None:
        """List who has changed what, and what staff has looked at; the newest last."""
        from meshapi.v1 import audit_pb2 as pb

        request = pb.SearchAuditRequest(
            actor_id=user, subject_id=subject, company_id=company, method=method, page_size=limit
        )
        for name, text in (("since", since), ("until", until)):
            if text:
                getattr(request, name).FromDatetime(_instant(text))
        running = Running.find(data_dir(project.root))
        found = [
            (name, record)
            for name in _services(project, service)
            for record in _ask(running, name, "SearchAudit", request).records
        ]
        _print_found(sorted(found, key=lambda each: each[1].at.ToMicroseconds()), output)


def _services(project: Project, only: str) -> Iterator[str]:
    known = [name for name in project.services if name != project.edge]
    if only and only not in known:
        raise Problem(f"there is no {only}", f"known: {', '.join(known)}", "one of them", USAGE)
    yield from [only] if only else known


def _verified(running: Running, service: str, kept: dict[str, Any]) -> dict[str, Any]:
    """Goes along the whole chain of a service."""
    from meshapi.v1 import audit_pb2 as pb

    known = kept.get(service, {"number": 0, "seal": ""})
    pinned = pb.AuditHead(number=known["number"], seal=bytes.fromhex(known["seal"]))
    request = pb.VerifyAuditRequest(pinned=pinned)
    flaws: list[dict[str, object]] = []
    looked_at = 0
    while True:
        answer: pb.VerifyAuditResponse = _ask(running, service, "VerifyAudit", request)
        flaws += [
            {"number": each.number, "rowId": each.row_id, "what": each.sentence}
            for each in answer.flaws
        ]
        looked_at += answer.looked_at
        if answer.is_end:
            break
        request.after.CopyFrom(answer.head)
    return {
        "records": looked_at,
        "waiting": answer.waiting,
        "number": answer.head.number,
        "seal": answer.head.seal.hex() if answer.head.number else "",
        "flaws": flaws,
    }


def _ask(running: Running, service: str, method: str, request: Message) -> Any:
    from mesh.cli.calls import ask
    from meshapi.v1 import audit_pb2

    contract = audit_pb2.DESCRIPTOR.services_by_name["AuditService"]
    return ask(running, service, contract.methods_by_name[method], request)


def _head(found: dict[str, Any]) -> dict[str, Any]:
    return {"number": found["number"], "seal": found["seal"]}


def _kept(file: Path) -> dict[str, Any]:
    try:
        kept: dict[str, Any] = json.loads(file.read_text())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise Problem("the heads cannot be read", f"{file}: {error}", "--heads FILE") from None
    return kept


def _instant(text: str) -> datetime:
    try:
        found = datetime.fromisoformat(text)
    except ValueError as error:
        raise Problem(f"{text} is no instant", str(error), "2027-03-01T12:00:00Z", USAGE) from None
    return found.astimezone() if found.tzinfo is None else found


def _print_verified(found: dict[str, dict[str, Any]], output: Output) -> None:
    if output is Output.JSON:
        print_json(found)
        return
    for name, each in found.items():
        state = "broken" if each["flaws"] else "whole"
        print(f"{name}: {state}, {each['records']} records, head {each['number']} {each['seal']}")
        for flaw in each["flaws"]:
            print(f"  record {flaw['number']}, row {flaw['rowId']}: {flaw['what']}")


def _print_found(found: list[tuple[str, audit_pb2.AuditRecord]], output: Output) -> None:
    if output is Output.JSON:
        from google.protobuf.json_format import MessageToDict

        print_json([{"service": name, **MessageToDict(record)} for name, record in found])
        return
    print_table(
        COLUMNS,
        (
            (
                record.at.ToDatetime().isoformat(timespec="milliseconds"),
                name,
                record.number or None,
                record.actor_id or record.workload,
                record.method.rpartition(".")[2],
                record.subject_id or None,
                record.outcome,
                record.reason or None,
            )
            for name, record in found
        ),
    )
