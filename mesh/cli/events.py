"""events: streams and who listens to them, what they hold, and how they are kept well."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from mesh.cli.asking import Desk, actor, with_nats
from mesh.cli.groups import group
from mesh.cli.output import Output, print_json, print_table, progress
from mesh.supervisor.problem import USAGE, Problem
from mesh.supervisor.project import Project

if TYPE_CHECKING:
    from mesh.events.jetstream import Connection
    from mesh.events.view import Decoded

__all__ = ["GROUP_HELP", "headers_of", "is_bucket", "register", "shown"]

GROUP_HELP: Final = "Events: streams, subscriptions, dead letters, schemas."
_TAIL_S: Final = 2.0

Json = Annotated[Output, typer.Option()]


def register(app: typer.Typer, project: Project) -> None:
    """Adds the commands."""
    events = group(app, "events", GROUP_HELP)

    @events.command()
    def ls(output: Json = Output.TABLE) -> None:
        """Show the streams, who listens and how far, and what waits in the outboxes."""
        desk = Desk(project)
        found = _overview(desk)
        if output is Output.JSON:
            print_json(found)
        else:
            _print_overview(found)

    @events.command()
    def tail(
        subject: Annotated[str, typer.Argument(help="bank.accounts.v1.EntryPosted.>")] = ">",
        lines: Annotated[int, typer.Option("-n", min=0, max=1000, help="The last so many.")] = 10,
        follow: Annotated[bool, typer.Option("-f", "--follow", help="Go on.")] = False,
        output: Json = Output.TABLE,
    ) -> None:
        """Print events, decoded, as they are told; what is personal is masked."""
        from mesh.cli.tailing import tail as read

        desk = Desk(project)
        desk.learn()

        def told(stream: str, sequence: int, event: Decoded) -> None:
            if output is Output.JSON:
                print(json.dumps(shown(stream, sequence, event), ensure_ascii=False), flush=True)
            else:
                data = json.dumps(event.data, ensure_ascii=False)
                name = event.type.rpartition(".")[2] or "?"
                where = f"{event.time[:23]:<23} {stream} {sequence}"
                print(
                    f"{where}  {name} {event.key} v{event.version}"
                    f"  trace {event.trace_id or '-'}  {data}",
                    flush=True,
                )

        with_nats(desk.running, lambda connection: read(connection, subject, lines, follow, told))

    @events.command()
    def show(
        stream: Annotated[str, typer.Argument(help="Such as ACCOUNTS.")],
        sequence: Annotated[int, typer.Argument(min=1, help="The event's place in it.")],
    ) -> None:
        """Print one event as JSON."""
        desk = Desk(project)
        desk.learn()
        print_json(with_nats(desk.running, lambda nats: _show(nats, stream.upper(), sequence)))

    _register_listeners(events, project)
    _register_steering(events, project)
    _register_mending(events, project)


def _register_listeners(events: typer.Typer, project: Project) -> None:
    @events.command()
    def consumers(
        service: Annotated[str, typer.Argument(help="Only its own, if given.")] = "",
        output: Json = Output.TABLE,
    ) -> None:
        """Show who listens to which events, and how."""
        found = [
            each
            for each in _survey(Desk(project))[0]
            if not service or each["subscription"].startswith(f"{service}-")
        ]
        if output is Output.JSON:
            print_json({"subscriptions": found})
            return
        columns = ("SUBSCRIPTION", "KIND", "STREAM", "EVENTS", "AT ONCE", "REDELIVERED", "")
        print_table(
            columns,
            [
                (
                    each["subscription"],
                    each["kind"],
                    each["stream"],
                    " ".join(name.rpartition(".")[2] for name in each["types"]),
                    each["concurrency"],
                    each["redelivered"],
                    each["problem"],
                )
                for each in found
            ],
        )

    @events.command()
    def lag(
        most: Annotated[
            int, typer.Option("--max", min=0, help="Exit with 1 where more events wait.")
        ] = 2**63 - 1,
        output: Json = Output.TABLE,
    ) -> None:
        """Show how many events wait: to be heard, and to be told; the most first."""
        subscriptions, outboxes = _survey(Desk(project))
        found = [
            {"where": each["subscription"], "stream": each["stream"], "waiting": each["lag"]}
            for each in subscriptions
        ]
        found += [
            {"where": f"outbox of {each['service']}", "stream": "", "waiting": each.get("unsent")}
            for each in outboxes
        ]
        # What cannot be asked is the worst.
        found.sort(key=lambda each: (each["waiting"] is not None, -(each["waiting"] or 0)))
        if output is Output.JSON:
            print_json({"waiting": found})
        else:
            print_table(("WHERE", "STREAM", "WAITING"), [list(each.values()) for each in found])
        is_late = any(each["waiting"] is None or each["waiting"] > most for each in found)
        raise typer.Exit(1 if is_late else 0)


def _register_mending(events: typer.Typer, project: Project) -> None:
    @events.command()
    def rebuild(
        service: Annotated[str, typer.Argument(help="Such as statements.")],
        projection: Annotated[str, typer.Argument(help="All of the service's, if absent.")] = "",
    ) -> None:
        """Build the rows of a projection anew from its streams, while they are in use."""
        from meshapi.v1 import events_pb2 as pb

        desk = Desk(project)
        names = [f"{service}-{projection}"] if projection else _projections(desk, service)
        for name in names:
            request = pb.RebuildProjectionRequest(subscription=name)
            for told in desk.follow(service, "RebuildProjection", request):
                if told.phase == pb.REBUILD_PHASE_DONE:
                    print(
                        f"{name}: rebuilt from {told.total} events;"
                        f" {told.removed} rows taken away, {told.added} put in"
                    )
                else:
                    progress(f"{name}: {told.read} of {told.total} events")

    @events.command()
    def reconcile(
        service: Annotated[str, typer.Argument(help="Whose streams: such as accounts.")],
        check: Annotated[bool, typer.Option("--check", help="Only look.")] = False,
        accept_loss: Annotated[
            bool, typer.Option("--accept-loss", help="Go on with what cannot be mended.")
        ] = False,
    ) -> None:
        """Compare the streams of a service with what it sent, and send again what they lost."""
        from meshapi.v1 import events_pb2 as pb

        desk = Desk(project)
        request = pb.ReconcileStreamsRequest(dry_run=check, accept_loss=accept_loss)
        answer = desk.ask(service, "ReconcileStreams", request)
        empty = [each.stream for each in answer.streams if each.must_be_removed]
        if empty and not check:
            with_nats(desk.running, partial(_remove, empty))
            answer = desk.ask(service, "ReconcileStreams", request)
        columns = ("STREAM", "EXPECTED", "FOUND", "MISSING", "RESTORED", "")
        rows = [
            (
                each.stream,
                each.expected_sequence,
                each.found_sequence,
                each.missing,
                each.restored,
                each.problem,
            )
            for each in answer.streams
        ]
        print_table(columns, rows)
        is_whole = all(
            each.missing == each.restored and not each.problem for each in answer.streams
        )
        raise typer.Exit(0 if is_whole else 1)


async def _remove(streams: Sequence[str], connection: Connection) -> None:
    """Removes those of the streams that are still empty."""
    for stream in streams:
        found = await connection.api(f"STREAM.INFO.{stream}")
        if not found["state"]["messages"]:
            await connection.api(f"STREAM.DELETE.{stream}")


def _register_steering(events: typer.Typer, project: Project) -> None:
    @events.command()
    def pause(subscription: Annotated[str, typer.Argument(help="notifications-notify")]) -> None:
        """Stop a subscription; its events wait in their stream."""
        from meshapi.v1 import events_pb2 as pb

        desk = Desk(project)
        request = pb.PauseSubscriptionRequest(subscription=subscription, actor=actor())
        desk.ask(desk.service_of(subscription), "PauseSubscription", request)
        print(f"{subscription} is paused")

    @events.command()
    def resume(
        subscription: Annotated[str, typer.Argument(help="notifications-notify")],
        concurrency: Annotated[
            int, typer.Option(min=0, max=256, help="So much at once; 0: as declared.")
        ] = 0,
    ) -> None:
        """Let a subscription go on, or change how much of it is done at once."""
        from meshapi.v1 import events_pb2 as pb

        desk = Desk(project)
        request = pb.ResumeSubscriptionRequest(
            subscription=subscription, concurrency=concurrency, actor=actor()
        )
        answer = desk.ask(desk.service_of(subscription), "ResumeSubscription", request)
        print(f"{subscription} goes on, {answer.concurrency} at once")


def _projections(desk: Desk, service: str) -> list[str]:
    from meshapi.v1 import events_pb2 as pb

    answer = desk.ask(service, "ListSubscriptions", pb.ListSubscriptionsRequest())
    kinds = {each.name: each.kind for each in answer.subscriptions}
    names = [name for name, kind in kinds.items() if kind == pb.SUBSCRIPTION_KIND_PROJECTION]
    if not names:
        why = "its tables are not made from events"
        raise Problem(f"{service} has no projection", why, "./bank events ls", USAGE)
    return names


def _overview(desk: Desk) -> dict[str, Any]:
    streams = with_nats(desk.running, _streams)
    subscriptions, outboxes = _survey(desk)
    return {"streams": streams, "subscriptions": subscriptions, "outboxes": outboxes}


def _survey(desk: Desk) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Asks every service what it listens to, and what it has yet to tell."""
    from meshapi.v1 import events_pb2 as pb

    subscriptions: list[dict[str, Any]] = []
    outboxes: list[dict[str, Any]] = []
    for service in desk.project.services:
        if service == desk.project.edge:
            continue
        try:
            answer = desk.ask(service, "ListSubscriptions", pb.ListSubscriptionsRequest())
        except Problem as problem:
            outboxes.append({"service": service, "problem": problem.why})
            continue
        subscriptions += [_subscription(each) for each in answer.subscriptions]
        size = answer.outbox
        outboxes.append(
            {
                "service": service,
                "unsent": size.unsent,
                "oldestAgeMs": size.oldest_age_ms,
                "scheduled": size.scheduled,
                "kept": size.kept,
                "problem": size.problem,
            }
        )
    return subscriptions, outboxes


def _subscription(found: Any) -> dict[str, Any]:
    from meshapi.v1 import events_pb2 as pb

    kind = pb.SubscriptionKind.Name(found.kind).removeprefix("SUBSCRIPTION_KIND_").lower()
    return {
        "subscription": found.name,
        "kind": kind,
        "stream": found.stream,
        "lag": found.lag if found.HasField("lag") else None,
        "concurrency": found.concurrency,
        "deadLetters": found.dead_letters,
        "redelivered": found.redelivered,
        "types": list(found.types),
        "problem": found.problem or ("paused" if not found.concurrency else ""),
    }


async def _streams(connection: Connection) -> list[dict[str, Any]]:
    answer = await connection.api("STREAM.LIST", {})
    return [
        {
            "stream": each["config"]["name"],
            "events": each["state"]["messages"],
            "first": each["state"]["first_seq"],
            "last": each["state"]["last_seq"],
            "bytes": each["state"]["bytes"],
            "fullPercent": _full(each),
        }
        for each in sorted(answer["streams"] or [], key=lambda each: str(each["config"]["name"]))
        if not is_bucket(each)
    ]


def is_bucket(stream: dict[str, Any]) -> bool:
    """Whether a stream is a key-value or an object store, which keeps no events."""
    return str(stream["config"]["name"]).startswith(("KV_", "OBJ_"))


def _full(stream: dict[str, Any]) -> int | None:
    most = stream["config"].get("max_bytes", -1)
    return None if most <= 0 else int(100 * stream["state"]["bytes"] / most)


def _print_overview(found: dict[str, Any]) -> None:
    streams = ("STREAM", "EVENTS", "FIRST", "LAST", "BYTES", "FULL %")
    print_table(streams, [list(each.values()) for each in found["streams"]])
    print()
    listed = (
        "SUBSCRIPTION",
        "KIND",
        "STREAM",
        "LAG",
        "AT ONCE",
        "DEAD LETTERS",
        "REDELIVERED",
        "",
    )
    rows = [
        [value for name, value in each.items() if name != "types"]
        for each in found["subscriptions"]
    ]
    print_table(listed, rows)
    print()
    names = ("service", "unsent", "oldestAgeMs", "scheduled", "kept", "problem")
    outboxes = ("OUTBOX", "UNSENT", "OLDEST MS", "SCHEDULED", "KEPT", "")
    print_table(outboxes, [[each.get(name) for name in names] for each in found["outboxes"]])


async def _show(connection: Connection, stream: str, sequence: int) -> dict[str, Any]:
    from mesh.events.view import decode

    answer = await connection.api(f"STREAM.MSG.GET.{stream}", {"seq": sequence})
    message = answer["message"]
    headers = headers_of(base64.b64decode(message.get("hdrs", "")))
    event = decode(headers, base64.b64decode(message.get("data", "")))
    return {**shown(stream, sequence, event), "headers": headers, "storedAt": message["time"]}


def headers_of(block: bytes) -> dict[str, str]:
    """Reads a block of headers as NATS keeps it."""
    pairs = (line.partition(":") for line in block.decode("utf-8", "replace").split("\r\n"))
    return {name: value.strip() for name, separator, value in pairs if separator}


def shown(stream: str, sequence: int, event: Decoded) -> dict[str, Any]:
    """An event as JSON."""
    return {
        "stream": stream,
        "sequence": sequence,
        "id": event.id,
        "type": event.type,
        "source": event.source,
        "key": event.key,
        "version": event.version,
        "time": event.time,
        "traceId": event.trace_id,
        "data": event.data,
    }
