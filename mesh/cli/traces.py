"""trace: what happened, from the query API; the embedded store's or a Jaeger's."""

from __future__ import annotations

import asyncio
import shutil
import sys
import webbrowser
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from mesh.cli.output import Output, has_colour, print_json, print_table
from mesh.supervisor.problem import NOT_RUNNING, Problem
from mesh.supervisor.project import Project
from mesh.supervisor.running import Running, data_dir

if TYPE_CHECKING:
    from observability.client import Summary, Trace, TraceClient
    from observability.comparison import Row

__all__ = ["register"]

T = TypeVar("T")

StoreUrl = Annotated[str, typer.Option(help="The trace store; of what is up, if not given.")]


def register(app: typer.Typer, project: Project) -> None:
    """Adds the commands."""
    trace = typer.Typer(help="Traces.", no_args_is_help=True, rich_markup_mode=None)
    app.add_typer(trace, name="trace")

    def client(url: str) -> TraceClient:
        from observability.client import TraceClient

        return TraceClient(url or Running.find(data_dir(project.root)).endpoints.traces)

    _register_one(trace, client)
    _register_many(trace, client)


def _register_one(trace: typer.Typer, client: Callable[[str], TraceClient]) -> None:
    @trace.command()
    def show(
        trace_id: Annotated[str, typer.Argument(help="The trace's id, or its beginning.")],
        output: Annotated[Output, typer.Option()] = Output.TABLE,
        url: StoreUrl = "",
    ) -> None:
        """Draw a trace as a tree."""
        from observability.tree import render

        found = _asked(_get(client(url), trace_id))
        if output is Output.JSON:
            print_json(found.otlp)
        else:
            width = shutil.get_terminal_size().columns
            print(render(found, width=width, colour=has_colour(sys.stdout)))

    @trace.command()
    def get(
        trace_id: Annotated[str, typer.Argument(help="The trace's id, or its beginning.")],
        url: StoreUrl = "",
    ) -> None:
        """Print a trace as OTLP JSON, which Jaeger's page can open."""
        print_json(_asked(_get(client(url), trace_id)).otlp)

    @trace.command("open")
    def open_page(
        trace_id: Annotated[str, typer.Argument(help="The trace's id, or its beginning.")],
        url: StoreUrl = "",
    ) -> None:
        """Open a trace's page in the browser, and print its address."""
        store = client(url)
        page = store.page(_asked(_get(store, trace_id)).trace_id)
        print(page)
        webbrowser.open(page)


def _register_many(trace: typer.Typer, client: Callable[[str], TraceClient]) -> None:
    @trace.command()
    def diff(
        before: Annotated[str, typer.Argument(help="The id of a trace, or its beginning.")],
        after: Annotated[str, typer.Argument(help="The id of the other.")],
        output: Annotated[Output, typer.Option()] = Output.TABLE,
        url: StoreUrl = "",
    ) -> None:
        """Compare two traces, span by span."""
        from observability.comparison import compare

        rows = compare(*_asked(_both(client(url), before, after)))
        if output is Output.JSON:
            print_json([row.facts() for row in rows])
        else:
            print_table(("SPAN", "BEFORE", "AFTER", "DIFFERENCE"), [_columns(row) for row in rows])

    @trace.command()
    def ls(
        service: Annotated[str, typer.Option(help="Only with this service.")] = "",
        error: Annotated[bool, typer.Option("--error", help="Only failed ones.")] = False,
        min_ms: Annotated[float, typer.Option(help="Only slower ones.")] = 0.0,
        limit: Annotated[int, typer.Option(min=1, max=1000)] = 20,
        output: Annotated[Output, typer.Option()] = Output.TABLE,
        url: StoreUrl = "",
    ) -> None:
        """List the traces of the last hour, the newest first."""
        attributes = {"error": "true"} if error else None
        found = _asked(
            client(url).find(service, min_duration_ms=min_ms, attributes=attributes, limit=limit)
        )
        if output is Output.JSON:
            print_json([_facts(summary) for summary in found])
        else:
            columns = ("TRACE", "START", "MS", "SPANS", "ERRORS", "ORPHANS", "SERVICE", "OPERATION")
            print_table(columns, [list(_facts(summary).values()) for summary in found])


async def _get(client: TraceClient, trace_id: str) -> Trace:
    return await client.get(await client.resolve(trace_id))


async def _both(client: TraceClient, before: str, after: str) -> tuple[Trace, Trace]:
    return await _get(client, before), await _get(client, after)


def _columns(row: Row) -> tuple[str, ...]:
    from observability.tree import duration

    def written(nanoseconds: int | None, failed: bool) -> str:
        took = "-" if nanoseconds is None else duration(nanoseconds)
        return f"{took} failed" if failed else took

    longer = row.difference_ns
    sign = "" if longer is None else "+" if longer >= 0 else "-"
    difference = "" if longer is None else f"{sign}{duration(abs(longer))}"
    before, after = written(row.before_ns, row.failed[0]), written(row.after_ns, row.failed[1])
    return ("  " * row.depth + row.label, before, after, difference)


def _asked(question: Coroutine[Any, Any, T]) -> T:
    from observability.client import TraceNotFound, TraceStoreError

    try:
        return asyncio.run(question)
    except TraceNotFound as error:
        why = "the store does not have it, or not yet"
        raise Problem(str(error), why, "./bank trace ls") from None
    except TraceStoreError as error:
        raise Problem("no trace store", str(error), "./bank up", NOT_RUNNING) from None


def _facts(summary: Summary) -> dict[str, object]:
    start = datetime.fromtimestamp(summary.start_ns / 1e9, UTC)
    return {
        "traceId": summary.trace_id,
        "start": start.strftime("%H:%M:%S"),
        "durationMs": round((summary.end_ns - summary.start_ns) / 1e6, 1),
        "spans": summary.spans,
        "errors": summary.errors,
        "orphans": summary.orphans,
        "service": summary.service,
        "operation": summary.operation,
    }
