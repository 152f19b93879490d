"""The corpus: an event of every type as it was once written, which new code must still understand.

An entry is the bytes, `<full name>.binpb`, and the JSON view that they had, `<full name>.json`. An
entry is never changed: streams keep such events for a month, archives for ever. A later shape of an
event is a further entry, `<full name>.2.binpb`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from zlib import crc32

from google.protobuf import json_format
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from google.protobuf.timestamp_pb2 import Timestamp

from . import Catalogue

__all__ = ["Entry", "add_missing", "example", "read", "view"]

_TIME_S: Final = 1_767_225_600
_TEXTS: Final = {"currency_code": "BRL", "currency": "BRL"}


@dataclass(frozen=True, slots=True)
class Entry:
    """An event as it was written. `view` is what its bytes said then."""

    name: str
    type: str
    payload: bytes
    view: dict[str, Any]


def read(folder: Path) -> Iterator[Entry]:
    """Reads the entries of a corpus, in order of their names."""
    for path in sorted(folder.glob("*.binpb")):
        name = path.name.removesuffix(".binpb")
        stem, _, number = name.rpartition(".")
        kind = stem if number.isdecimal() else name
        said: dict[str, Any] = json.loads(path.with_name(f"{name}.json").read_text())
        yield Entry(name, kind, path.read_bytes(), said)


def add_missing(catalogue: Catalogue, folder: Path) -> list[str]:
    """Writes an entry for every type that has none; lists the names. Entries are never changed."""
    folder.mkdir(parents=True, exist_ok=True)
    known = {entry.type for entry in read(folder)}
    added = []
    for event in catalogue.events:
        if event.name not in known:
            message = example(event.descriptor)
            (folder / f"{event.name}.binpb").write_bytes(
                message.SerializeToString(deterministic=True)
            )
            text = json.dumps(view(message), indent=2, ensure_ascii=False)
            (folder / f"{event.name}.json").write_text(f"{text}\n")
            added.append(event.name)
    return added


def view(message: Message) -> dict[str, Any]:
    """The JSON view of an event: what is there, and nothing that is not."""
    said: dict[str, Any] = json_format.MessageToDict(message, preserving_proto_field_name=True)
    return said


def example(descriptor: Descriptor) -> Message:
    """Makes an event whose every field says something, always the same."""
    message = GetMessageClass(descriptor)()
    for field in descriptor.fields:
        if field.containing_oneof is not None and field != field.containing_oneof.fields[0]:
            continue
        value = _value(field)
        if field.is_repeated:
            getattr(message, field.name).append(value)
        elif isinstance(value, Message):
            getattr(message, field.name).CopyFrom(value)
        else:
            setattr(message, field.name, value)
    return message


def _value(field: FieldDescriptor) -> Any:
    if field.message_type is not None:
        if field.message_type.full_name == "google.protobuf.Timestamp":
            return Timestamp(seconds=_TIME_S)
        return example(field.message_type)
    if field.enum_type is not None:
        numbers = [value.number for value in field.enum_type.values]
        return numbers[min(1, len(numbers) - 1)]
    if field.cpp_type == FieldDescriptor.CPPTYPE_STRING:
        if field.type == FieldDescriptor.TYPE_BYTES:
            return b"\x01"
        if field.name.endswith("_id"):
            # The same in every event, so that one tells of what another has told of.
            return f"01900000-0000-7000-8000-{crc32(field.name.encode()):012d}"
        return _TEXTS.get(field.name, f"{field.name} {field.number}")
    if field.cpp_type == FieldDescriptor.CPPTYPE_BOOL:
        return True
    return field.number
