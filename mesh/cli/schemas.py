"""events asyncapi, corpus, impact: what the contracts say of events, and whom a change breaks."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mesh.cli.events import GROUP_HELP
from mesh.cli.groups import group
from mesh.cli.output import Output, print_json, print_table, progress
from mesh.supervisor.problem import Problem
from mesh.supervisor.project import Project

__all__ = ["CORPUS", "DOCUMENT", "register"]

DOCUMENT = Path("docs/asyncapi.json")
CORPUS = Path("tests/corpus")


def register(app: typer.Typer, project: Project) -> None:
    """Adds the commands."""
    events = group(app, "events", GROUP_HELP)

    @events.command("catalog")
    def catalog(output: Annotated[Output, typer.Option()] = Output.TABLE) -> None:
        """List every event: who tells it, who listens."""
        from mesh.catalogue import catalogue

        rows = [
            {
                "event": each.name,
                "stream": each.kind.stream,
                "key": each.kind.key,
                "told by": each.publisher,
                "heard by": [listener.name for listener in each.listeners],
            }
            for each in catalogue(project).events
        ]
        if output is Output.JSON:
            print_json(rows)
            return
        columns = ("EVENT", "STREAM", "KEY", "TOLD BY", "HEARD BY")
        cells = [[*list(row.values())[:-1], ", ".join(row["heard by"]) or None] for row in rows]
        print_table(columns, cells)

    @events.command()
    def asyncapi(
        check: Annotated[bool, typer.Option("--check", help="Change nothing, only look.")] = False,
    ) -> None:
        """Write docs/asyncapi.json from the contracts and from who listens."""
        from mesh.catalogue import catalogue
        from mesh.catalogue.asyncapi import render

        text, path = render(catalogue(project)), project.root / DOCUMENT
        is_fresh = path.exists() and path.read_text() == text
        if check and not is_fresh:
            why = "contracts or subscriptions have changed since it was written"
            raise Problem(f"{DOCUMENT} is stale", why, f"./{project.name} events asyncapi")
        if not check:
            path.write_text(text)
        print(f"{DOCUMENT} is {'fresh' if is_fresh or check else 'written'}")

    _register_gates(events, project)


def _register_gates(events: typer.Typer, project: Project) -> None:
    @events.command()
    def corpus(
        add: Annotated[bool, typer.Option("--add", help="Write what is missing.")] = False,
    ) -> None:
        """List the events as they were once written; new code must still understand them."""
        from mesh.catalogue import catalogue
        from mesh.catalogue.corpus import add_missing, read

        folder = project.root / CORPUS
        known = catalogue(project)
        if add:
            for name in add_missing(known, folder):
                print(f"{name} was added")
        entries = list(read(folder))
        missing = {each.name for each in known.events} - {each.type for each in entries}
        if missing:
            what = f"{len(missing)} types of events have no entry"
            raise Problem(what, ", ".join(sorted(missing)), f"./{project.name} events corpus --add")
        print(f"{len(entries)} entries, {len(known.events)} types: each has one")

    @events.command()
    def impact() -> None:
        """List what breaks since the baseline, and which subscriptions it would break; exit 1."""
        raise typer.Exit(_impact(project))


def _impact(project: Project) -> int:
    from google.protobuf.descriptor_pb2 import FileDescriptorSet

    from mesh.catalogue import catalogue
    from mesh.catalogue.impact import impacts
    from mesh.cli import protos

    findings = protos.breaking(project.root)
    if not findings:
        print("no change breaks what is in use")
        return 0
    baseline = FileDescriptorSet.FromString((project.root / protos.BASELINE).read_bytes())
    for impact in impacts(findings, baseline, catalogue(project)):
        print(impact.finding)
        for event in impact.events:
            names = ", ".join(listener.name for listener in event.listeners) or "nobody"
            print(f"  {event.name} breaks {names}")
    progress(f"{len(findings)} breaking changes")
    return 1
