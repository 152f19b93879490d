"""Who may do what at NATS: a user for each service, with the rights that its declarations need.

A service publishes the events of its own contracts, makes their stream, and reads the streams that
it listens to and the one that tells which sessions have ended. It hears its own inbox and nobody
else's. It deletes no stream, changes none, and touches no durable consumer of another. The control
plane has its bucket; the operator reads everything, and deletes streams that are empty.

What NATS cannot be told: a consumer's name begins with that of its service, but a right is on whole
words of a subject, so that the right to make consumers on a stream is to make them with any name
that is not another's durable one.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from google.protobuf.message import Message

from mesh.chassis import Service
from mesh.events.envelope import describe
from mesh.settings import Settings
from mesh.supervisor.project import Project
from meshapi.v1 import options_pb2

from . import contracts, declared

__all__ = ["CONTROL_PLANE", "OPERATOR", "Grant", "grants", "users_conf"]

CONTROL_PLANE: Final = "control-plane"
OPERATOR: Final = "operator"

_BUCKET: Final = "mesh-policy"
_API: Final = "$JS.API"


@dataclass(slots=True)
class Grant:
    """What a user may publish, which of that not, and what it may subscribe to."""

    publish: list[str] = field(default_factory=list)
    forbidden: list[str] = field(default_factory=list)
    subscribe: list[str] = field(default_factory=list)


@dataclass(slots=True)
class _Part:
    """A service's streams: its own, with their subjects, and those it reads; durable consumers."""

    own: dict[str, str] = field(default_factory=dict)
    read: set[str] = field(default_factory=set)
    durable: set[tuple[str, str]] = field(default_factory=set)


def grants(project: Project) -> dict[str, Grant]:
    """Derives the rights of every user, by name, from contracts and declarations."""
    parts = _parts(project)
    durable = {each for part in parts.values() for each in part.durable}
    made = {name: _of_service(name, part, durable) for name, part in parts.items()}
    return made | {CONTROL_PLANE: _of_control_plane(), OPERATOR: _of_operator()}


def users_conf(granted: Mapping[str, Grant], passwords: Mapping[str, str]) -> str:
    """Writes the users for the server's configuration, inside `authorization`."""
    users = [
        {
            "user": name,
            "password": passwords[name],
            "permissions": {
                "publish": _publish(grant),
                "subscribe": {"allow": grant.subscribe},
            },
        }
        for name, grant in granted.items()
    ]
    # The configuration's language takes JSON.
    return f"users: {json.dumps(users, indent=1)}\n"


def _publish(grant: Grant) -> dict[str, list[str]]:
    # Nothing allowed would mean everything.
    if not grant.publish:
        return {"deny": [">"]}
    return {"allow": grant.publish, "deny": grant.forbidden}


def _parts(project: Project) -> dict[str, _Part]:
    parts = {name: _Part() for name in project.services}
    for file in contracts(project):
        for message in file.message_types_by_name.values():
            publisher = file.package.split(".")[-2]
            if publisher in parts and message.GetOptions().Extensions[options_pb2.event].stream:
                kind = describe(message)
                parts[publisher].own[kind.stream] = kind.stream_subjects
    sessions = str(Settings.model_fields["session_end_event"].default).split(".")[1].upper()
    is_told = any(sessions in part.own for part in parts.values())
    for name, part in parts.items():
        service = _declared(project, name)
        for projection in service.projections:
            part.read |= _streams(projection.on)
        for reaction in service.reactions:
            part.read |= _streams(reaction.on)
            part.durable |= {(each, f"{name}-{reaction.name}") for each in _streams(reaction.on)}
        if is_told and name != project.edge:
            part.read.add(sessions)
    return parts


def _streams(kinds: Iterable[type[Message]]) -> set[str]:
    return {describe(kind.DESCRIPTOR).stream for kind in kinds}


def _declared(project: Project, name: str) -> Service:
    try:
        return declared(project, name)
    except ModuleNotFoundError as error:
        # A program that declares nothing tells and hears nothing.
        if error.name is None or not f"{project.package}.{name}.app".startswith(error.name):
            raise
        return Service(name=name)


def _of_service(name: str, part: _Part, durable: set[tuple[str, str]]) -> Grant:
    grant = Grant(subscribe=[f"_INBOX_{name}.>"])
    for stream, subjects in sorted(part.own.items()):
        grant.publish += [subjects, f"{_API}.STREAM.CREATE.{stream}"]
    for stream in sorted(part.read | part.own.keys()):
        grant.publish += _reading(stream)
    for stream, consumer in sorted(part.durable):
        grant.publish += [
            f"{_API}.CONSUMER.RESET.{stream}.{consumer}",
            f"$JS.ACK.{stream}.{consumer}.>",
        ]
    for stream, consumer in sorted(durable - part.durable):
        if stream in part.read or stream in part.own:
            grant.forbidden += _using(stream, consumer)
    return grant


def _reading(stream: str) -> list[str]:
    """The rights to look at a stream, and to read it through consumers."""
    look = [f"{_API}.STREAM.INFO.{stream}", f"{_API}.STREAM.MSG.GET.{stream}"]
    return [*look, *_using(stream, "*")]


def _using(stream: str, consumer: str) -> list[str]:
    verbs = ("CREATE", "INFO", "DELETE", "MSG.NEXT")
    return [f"{_API}.CONSUMER.{verb}.{stream}.{consumer}" for verb in verbs]


def _of_control_plane() -> Grant:
    stream = f"KV_{_BUCKET}"
    verbs = ("INFO", "CREATE", "MSG.GET")
    calls = [f"{_API}.STREAM.{verb}.{stream}" for verb in verbs]
    values = f"$KV.{_BUCKET}.>"
    return Grant(publish=[values, *calls], subscribe=[f"_INBOX_{CONTROL_PLANE}.>", values])


def _of_operator() -> Grant:
    calls = ["STREAM.LIST", "STREAM.INFO.*", "STREAM.MSG.GET.*", "STREAM.DELETE.*"]
    calls += ["CONSUMER.LIST.*", *(each.removeprefix(f"{_API}.") for each in _using("*", "*"))]
    return Grant(
        publish=[f"{_API}.{call}" for call in calls],
        forbidden=[f"{_API}.STREAM.DELETE.KV_{_BUCKET}"],
        subscribe=[f"_INBOX_{OPERATOR}.>"],
    )
