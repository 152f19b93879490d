"""The AsyncAPI 3.0 document of a project: every event, who tells it, who listens.

Its payloads are Protobuf; they are described by the JSON view of it (ProtoJSON), beside the name of
the message. Descriptions are the comments of the contracts.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, Final

from google.protobuf.descriptor import Descriptor, FieldDescriptor

from . import Catalogue, Told

__all__ = ["asyncapi", "render"]

Schema = dict[str, Any]

_TIMES: Final = {
    "google.protobuf.Timestamp": {"type": "string", "format": "date-time"},
    "google.protobuf.Duration": {"type": "string", "pattern": r"^-?[0-9]+(\.[0-9]{1,9})?s$"},
}
_LONG: Final = {
    FieldDescriptor.CPPTYPE_INT64,
    FieldDescriptor.CPPTYPE_UINT64,
}
_TYPES: Final = {
    FieldDescriptor.CPPTYPE_INT32: "integer",
    FieldDescriptor.CPPTYPE_UINT32: "integer",
    FieldDescriptor.CPPTYPE_BOOL: "boolean",
    FieldDescriptor.CPPTYPE_DOUBLE: "number",
    FieldDescriptor.CPPTYPE_FLOAT: "number",
}
_HEADERS: Final[Schema] = {
    "type": "object",
    "required": ["ce-id", "ce-type", "ce-source", "ce-subject", "ce-time", "ce-specversion"],
    "properties": {
        "ce-specversion": {"const": "1.0"},
        "ce-id": {"type": "string", "description": "Its id: the same event has the same one."},
        "ce-type": {"type": "string", "description": "The full name of its message."},
        "ce-source": {"type": "string", "description": "The service that tells it."},
        "ce-subject": {"type": "string", "description": "What it is about: it orders events."},
        "ce-sequence": {"type": "string", "description": "The version of what it is about."},
        "ce-time": {"type": "string", "format": "date-time"},
        "traceparent": {"type": "string", "description": "W3C Trace Context of its sender."},
    },
}
_COMMENTED: Final = re.compile(r"((?:^ *//.*\n)+) *(?:message (\w+)|[\w.<>, ]+ (\w+) = \d+)", re.M)


def asyncapi(catalogue: Catalogue) -> Schema:
    """Describes a project's events as an AsyncAPI 3.0 document."""
    schemas: dict[str, Schema] = {}
    protos = catalogue.project.root / "protos"
    messages = {event.name: _message(event, protos, schemas) for event in catalogue.events}
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": f"{catalogue.project.name}: events",
            "version": catalogue.project.version,
            "description": "CloudEvents in binary mode, over NATS JetStream.",
        },
        "defaultContentType": "application/protobuf",
        "channels": {event.name: _channel(event) for event in catalogue.events},
        "operations": dict(_operations(catalogue)),
        "components": {"messages": messages, "schemas": dict(sorted(schemas.items()))},
    }


def render(catalogue: Catalogue) -> str:
    """Writes the document as it is kept."""
    return json.dumps(asyncapi(catalogue), indent=2, ensure_ascii=False) + "\n"


def _channel(event: Told) -> Schema:
    return {
        "address": event.kind.template,
        "messages": {event.descriptor.name: {"$ref": f"#/components/messages/{event.name}"}},
        "parameters": {event.kind.key: {"description": "What the event is about."}},
        "bindings": {"nats": {"queue": "", "bindingVersion": "0.1.0"}},
        "x-stream": event.kind.stream,
    }


def _operations(catalogue: Catalogue) -> Iterator[tuple[str, Schema]]:
    for event in catalogue.events:
        channel = {"$ref": f"#/channels/{event.name}"}
        messages = [{"$ref": f"#/channels/{event.name}/messages/{event.descriptor.name}"}]
        yield (
            f"{event.publisher}.send.{event.name}",
            {"action": "send", "channel": channel, "messages": messages, "x-by": event.publisher},
        )
        for listener in event.listeners:
            yield (
                f"{listener.name}.receive.{event.name}",
                {
                    "action": "receive",
                    "channel": channel,
                    "messages": messages,
                    "x-by": listener.service,
                    "x-kind": listener.kind,
                },
            )


def _message(event: Told, protos: Path, schemas: dict[str, Schema]) -> Schema:
    return {
        "name": event.name,
        "title": event.descriptor.name,
        "summary": _comments(protos / event.descriptor.file.name).get(event.descriptor.name, ""),
        "contentType": "application/protobuf",
        "headers": _HEADERS,
        "payload": _reference(event.descriptor, protos, schemas),
        "x-protobuf": {"file": event.descriptor.file.name, "message": event.name},
    }


def _reference(message: Descriptor, protos: Path, schemas: dict[str, Schema]) -> Schema:
    name = message.full_name
    if name not in schemas:
        schemas[name] = {}
        comments = _comments(protos / message.file.name)
        properties: dict[str, Schema] = {}
        for field in message.fields:
            schema = _field(field, protos, schemas)
            if said := comments.get(f"{message.name}.{field.name}"):
                schema = {**schema, "description": said}
            if field.GetOptions().debug_redact:
                schema = {**schema, "x-redacted": True}
            properties[field.json_name] = schema
        schemas[name] = {"type": "object", "properties": properties}
    return {"$ref": f"#/components/schemas/{name}"}


def _field(field: FieldDescriptor, protos: Path, schemas: dict[str, Schema]) -> Schema:
    one = _one(field, protos, schemas)
    return {"type": "array", "items": one} if field.is_repeated else one


def _one(field: FieldDescriptor, protos: Path, schemas: dict[str, Schema]) -> Schema:
    if field.message_type is not None:
        known = _TIMES.get(field.message_type.full_name)
        return dict(known) if known else _reference(field.message_type, protos, schemas)
    if field.enum_type is not None:
        return {"type": "string", "enum": [value.name for value in field.enum_type.values]}
    if field.cpp_type in _LONG:
        return {"type": "string", "format": "int64"}
    return {"type": _TYPES.get(field.cpp_type, "string")}


@cache
def _comments(source: Path) -> dict[str, str]:
    """The comments of a contract's messages, and of their fields as `Message.field`."""
    found: dict[str, str] = {}
    if not source.exists():
        return found
    message = ""
    for comment, opened, field in _COMMENTED.findall(source.read_text()):
        text = " ".join(line.strip().removeprefix("//").strip() for line in comment.splitlines())
        message = opened or message
        found[opened or f"{message}.{field}"] = text
    return found
