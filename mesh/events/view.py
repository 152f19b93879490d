"""How an event is shown to a person: decoded by its type, with what is personal masked.

A field that its contract marks `debug_redact` is never shown.
"""

from __future__ import annotations

import base64
import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from google.protobuf import json_format
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.descriptor_pool import Default
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass

__all__ = ["MASK", "Decoded", "decode", "masked", "message_named"]

MASK: Final = "[redacted]"


@dataclass(frozen=True, slots=True)
class Decoded:
    """An event as it is shown. `data` is its message, or what is known of one that is not ours."""

    id: str
    type: str
    source: str
    key: str
    version: str
    time: str
    trace_id: str
    data: dict[str, Any]


def decode(headers: Mapping[str, str], payload: bytes) -> Decoded:
    """Decodes an event by its `ce-type`; what cannot be decoded is shown by its size."""
    kind = headers.get("ce-type", "")
    made = message_named(kind)
    data: dict[str, Any] = {"@undecodable": f"{len(payload)} bytes"}
    if made is not None:
        with contextlib.suppress(DecodeError):
            data = masked(made.FromString(payload))
    traceparent = headers.get("traceparent", "").split("-")
    return Decoded(
        id=headers.get("ce-id", ""),
        type=kind,
        source=headers.get("ce-source", ""),
        key=headers.get("ce-subject", ""),
        version=headers.get("ce-sequence", ""),
        time=headers.get("ce-time", ""),
        trace_id=traceparent[1] if len(traceparent) == 4 else "",
        data=data,
    )


def message_named(name: str) -> type[Message] | None:
    """Finds a generated message by its full name, among those that were imported."""
    try:
        return GetMessageClass(Default().FindMessageTypeByName(name))
    except KeyError:
        return None


def masked(message: Message) -> dict[str, Any]:
    """Makes the JSON view of a message, without what must not be seen."""
    shown: dict[str, Any] = {}
    for field, value in message.ListFields():
        shown[field.json_name] = MASK if field.GetOptions().debug_redact else _view(field, value)
    if unknown := _unknown(message):
        shown["@unknown"] = f"{unknown} bytes of fields that this release does not know"
    return shown


def _view(field: FieldDescriptor, value: Any) -> Any:
    if field.is_repeated and field.message_type and field.message_type.GetOptions().map_entry:
        inner = field.message_type.fields_by_name["value"]
        return {str(key): _one(inner, value[key]) for key in value}
    return [_one(field, each) for each in value] if field.is_repeated else _one(field, value)


def _one(field: FieldDescriptor, value: Any) -> Any:
    if field.message_type is not None:
        if field.message_type.full_name.startswith("google.protobuf."):
            return json_format.MessageToDict(value) if not _is_scalar(value) else _scalar(value)
        return masked(value)
    if field.enum_type is not None:
        known = field.enum_type.values_by_number.get(value)
        return known.name if known is not None else value
    return base64.b64encode(value).decode() if isinstance(value, bytes) else value


def _is_scalar(message: Message) -> bool:
    return message.DESCRIPTOR.name in ("Timestamp", "Duration")


def _scalar(message: Any) -> str:
    text: str = message.ToJsonString()
    return text


def _unknown(message: Message) -> int:
    """The size of the fields that are in the bytes and not in the contract."""
    known = type(message)()
    known.CopyFrom(message)
    known.DiscardUnknownFields()
    return message.ByteSize() - known.ByteSize()
