"""events dlq: what could not be applied: to look at, to mend, to apply after all, to give up."""

from __future__ import annotations

import contextlib
import sys
import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mesh.cli.asking import Desk, actor
from mesh.cli.events import GROUP_HELP
from mesh.cli.groups import group
from mesh.cli.output import Output, print_json, print_table, progress
from mesh.supervisor.problem import USAGE, Problem
from mesh.supervisor.project import Project

if TYPE_CHECKING:
    from meshapi.v1 import events_pb2

__all__ = ["register"]

Subscription = Annotated[str, typer.Argument(help="Such as notifications-notify.")]
EventId = Annotated[str, typer.Argument(help="The event's id, as `ls` shows it.")]
Note = Annotated[str, typer.Option(help="Why; it is kept in the history.")]


def register(app: typer.Typer, project: Project) -> None:
    """Adds the commands."""
    letters = typer.Typer(help="Dead letters.", no_args_is_help=True, rich_markup_mode=None)
    group(app, "events", GROUP_HELP).add_typer(letters, name="dlq")

    @letters.command()
    def ls(
        subscription: Annotated[str, typer.Argument(help="Of all, if absent.")] = "",
        key: Annotated[str, typer.Option(help="Only of this key.")] = "",
        output: Annotated[Output, typer.Option()] = Output.TABLE,
    ) -> None:
        """List events that could not be applied, each key in its order."""
        rows = [_row(each) for each in _list(Desk(project), subscription, key)]
        if output is Output.JSON:
            print_json(rows)
        elif rows:
            print_table([name.upper() for name in rows[0]], [list(row.values()) for row in rows])
        else:
            print("no dead letters")

    @letters.command()
    def show(subscription: Subscription, event_id: EventId) -> None:
        """Print a dead letter as JSON: the event, the error, the trace, what was done with it."""
        desk = Desk(project)
        desk.learn()
        print_json(_detail(_find(desk, subscription, event_id)))

    @letters.command()
    def redrive(
        subscription: Subscription,
        key: Annotated[str, typer.Option(help="Only of this key.")] = "",
        rate: Annotated[float, typer.Option(min=0.0, help="At most so many a second.")] = 0.0,
    ) -> None:
        """Apply dead letters after all, each key in its order; Ctrl-C stops between two."""
        raise typer.Exit(_redrive(Desk(project), subscription, key, rate))

    @letters.command()
    def edit(
        subscription: Subscription,
        event_id: EventId,
        fields: Annotated[str, typer.Argument(help="What to change, as JSON; - reads it.")],
        note: Note = "",
    ) -> None:
        """Change fields of a dead letter; the letter as it was is kept in the history."""
        desk = Desk(project)
        desk.learn()
        _edit(desk, subscription, event_id, sys.stdin.read() if fields == "-" else fields, note)
        print(f"{event_id} was changed; ./{project.name} events dlq redrive {subscription}")

    @letters.command()
    def drop(subscription: Subscription, event_id: EventId, note: Note = "") -> None:
        """Give a dead letter up; it is kept in the history, and never applied."""
        from meshapi.v1 import events_pb2 as pb

        desk = Desk(project)
        request = pb.DropDeadLetterRequest(
            subscription=subscription, event_id=event_id, actor=actor(), note=note
        )
        desk.ask(desk.service_of(subscription), "DropDeadLetter", request)
        print(f"{event_id} was given up")


def _list(desk: Desk, subscription: str, key: str) -> list[events_pb2.DeadLetter]:
    from meshapi.v1 import events_pb2 as pb

    services = [each for each in desk.project.services if each != desk.project.edge]
    if subscription:
        services = [desk.service_of(subscription)]
    request = pb.ListDeadLettersRequest(subscription=subscription, key=key, page_size=1000)
    found: list[events_pb2.DeadLetter] = []
    for service in services:
        try:
            found += desk.ask(service, "ListDeadLetters", request).dead_letters
        except Problem as problem:
            if subscription:
                raise
            progress(f"{service} does not answer: {problem.why}")
    return found


def _find(desk: Desk, subscription: str, event_id: str) -> events_pb2.DeadLetter:
    from meshapi.v1 import events_pb2 as pb

    request = pb.ListDeadLettersRequest(subscription=subscription, event_id=event_id)
    answer = desk.ask(desk.service_of(subscription), "ListDeadLetters", request)
    for letter in answer.dead_letters:
        found: events_pb2.DeadLetter = letter
        return found
    why = f"{subscription} has not parked it, or no longer"
    raise Problem(f"there is no dead letter {event_id}", why, "./bank events dlq ls", USAGE)


def _row(letter: events_pb2.DeadLetter) -> dict[str, Any]:
    return {
        "subscription": letter.subscription,
        "event": letter.event_id,
        "type": letter.type.rpartition(".")[2],
        "key": letter.key,
        "attempts": letter.attempts,
        "error": letter.error,
        "trace": _trace(letter.traceparent),
        "parked": letter.parked_at.ToJsonString()[:19],
    }


def _trace(traceparent: str) -> str:
    parts = traceparent.split("-")
    return parts[1] if len(parts) == 4 else ""


def _detail(letter: events_pb2.DeadLetter) -> dict[str, Any]:
    from mesh.events.view import decode

    event = decode(dict(letter.headers), letter.payload)
    return {
        "subscription": letter.subscription,
        "id": letter.event_id,
        "type": letter.type,
        "stream": letter.stream,
        "sequence": letter.sequence,
        "key": letter.key,
        "version": event.version,
        "time": event.time,
        "traceId": event.trace_id,
        "error": letter.error,
        "attempts": letter.attempts,
        "parkedAt": letter.parked_at.ToJsonString(),
        "data": event.data,
        "history": [
            {
                "action": each.action,
                "actor": each.actor,
                "note": each.note,
                "at": each.acted_at.ToJsonString(),
            }
            for each in letter.history
        ],
    }


def _redrive(desk: Desk, subscription: str, key: str, rate: float) -> int:
    from meshapi.v1 import events_pb2 as pb

    request = pb.RedriveDeadLettersRequest(
        subscription=subscription, key=key, per_second=rate, actor=actor()
    )
    began, last = time.monotonic(), pb.RedriveDeadLettersResponse()
    for told in desk.follow(desk.service_of(subscription), "RedriveDeadLetters", request):
        last = told
        if told.error:
            progress(f"{told.event_id} failed again: {told.error}")
        elif told.applied % 100 == 0 and told.event_id:
            speed = told.applied / max(time.monotonic() - began, 0.001)
            progress(f"{told.applied} applied, {told.remaining} left, {speed:.0f} a second")
    print(f"{last.applied} applied, {last.failed} failed again, {last.remaining} left")
    return 1 if last.failed else 0


def _edit(desk: Desk, subscription: str, event_id: str, fields: str, note: str) -> None:
    from google.protobuf import json_format
    from google.protobuf.message import DecodeError

    from mesh.events.view import message_named
    from meshapi.v1 import events_pb2 as pb

    letter = _find(desk, subscription, event_id)
    kind = message_named(letter.type)
    if kind is None:
        why = "no contract here declares it"
        raise Problem(f"{letter.type} is not known", why, "./bank protos")
    event: Any = kind()
    # What cannot be decoded is written anew.
    with contextlib.suppress(DecodeError):
        event.ParseFromString(letter.payload)
    try:
        # Onto what it says: fields that are not named, masked ones above all, stay.
        json_format.Parse(fields, event)
    except json_format.ParseError as error:
        names = ", ".join(field.json_name for field in event.DESCRIPTOR.fields)
        why = " ".join(str(error).split())
        raise Problem("these are not its fields", why, f"its fields: {names}", USAGE) from None
    request = pb.EditDeadLetterRequest(
        subscription=subscription,
        event_id=event_id,
        payload=event.SerializeToString(),
        actor=actor(),
        note=note,
    )
    desk.ask(desk.service_of(subscription), "EditDeadLetter", request)
