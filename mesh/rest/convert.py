"""Messages as JSON and back, compiled once per message type.

The form is canonical ProtoJSON (https://protobuf.dev/programming-guides/json/), stricter and
friendlier in three places: an enum value loses the prefix that repeats its type; fields without
presence are always written; and what canonical parsers let pass (floats for integers, unknown
fields, two fields of one oneof) is refused, every fault with its path.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Iterable, Mapping
from datetime import date
from functools import cache
from typing import Any

from google.protobuf import message_factory
from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor
from google.protobuf.message import Message

from mesh.errors import InvalidArgument, Violation

__all__ = ["enum_name", "fill", "fill_from_text", "to_json"]

Encode = Callable[[Any], Any]
Decode = Callable[[Any], Any]

INTEGERS = {
    FieldDescriptor.TYPE_INT32: (-(2**31), 2**31 - 1),
    FieldDescriptor.TYPE_SINT32: (-(2**31), 2**31 - 1),
    FieldDescriptor.TYPE_SFIXED32: (-(2**31), 2**31 - 1),
    FieldDescriptor.TYPE_UINT32: (0, 2**32 - 1),
    FieldDescriptor.TYPE_FIXED32: (0, 2**32 - 1),
    FieldDescriptor.TYPE_INT64: (-(2**63), 2**63 - 1),
    FieldDescriptor.TYPE_SINT64: (-(2**63), 2**63 - 1),
    FieldDescriptor.TYPE_SFIXED64: (-(2**63), 2**63 - 1),
    FieldDescriptor.TYPE_UINT64: (0, 2**64 - 1),
    FieldDescriptor.TYPE_FIXED64: (0, 2**64 - 1),
}
WELL_KNOWN = {"google.protobuf.Timestamp", "google.protobuf.Duration"}
DECIMAL = re.compile(r"-?[0-9]{1,20}")
DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")


def enum_name(enum: EnumDescriptor, number: int) -> str | int:
    """Names an enum value without the prefix that repeats its type; an unknown one by number."""
    value = enum.values_by_number.get(number)
    return number if value is None else value.name.removeprefix(_prefix(enum))


def _prefix(enum: EnumDescriptor) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", enum.name).upper() + "_"


# ── message to JSON ──────────────────────────────────────────────────────────


def to_json(message: Message) -> dict[str, Any]:
    """Converts a message to what a JSON encoder takes."""
    written: dict[str, Any] = {}
    for json_name, name, has_presence, encode in _encoders(message.DESCRIPTOR):
        if not has_presence or message.HasField(name):
            written[json_name] = encode(getattr(message, name))
    return written


@cache
def _encoders(descriptor: Descriptor) -> tuple[tuple[str, str, bool, Encode], ...]:
    return tuple(
        (field.json_name, field.name, field.has_presence, _encoder(field))
        for field in descriptor.fields
    )


def _encoder(field: FieldDescriptor) -> Encode:
    one = _encoder_of_one(field)
    if field.is_repeated:
        return lambda values: [one(value) for value in values]
    return one


def _encoder_of_one(field: FieldDescriptor) -> Encode:
    if field.message_type is not None:
        if field.message_type.full_name in WELL_KNOWN:
            return lambda value: value.ToJsonString()
        return to_json
    if field.enum_type is not None:
        enum = field.enum_type
        return lambda number: enum_name(enum, number)
    if field.type == FieldDescriptor.TYPE_BYTES:
        return lambda value: base64.b64encode(value).decode()
    if field.type in INTEGERS and INTEGERS[field.type][1] > 2**32:
        return str
    return lambda value: value


# ── JSON to message ──────────────────────────────────────────────────────────


class _Faults:
    """The faults found so far, each with its path."""

    def __init__(self) -> None:
        self.found: list[Violation] = []

    def add(self, path: str, description: str) -> None:
        self.found.append(Violation(path, description))

    def raise_if_any(self) -> None:
        if self.found:
            first = self.found[0]
            sentence = f"{first.field or 'The body'}: {first.description}."
            raise InvalidArgument("INVALID_REQUEST", sentence, *self.found)


def fill(message: Message, value: object) -> None:
    """Fills a message from decoded JSON.

    Raises `InvalidArgument` with one violation for each fault; the message is then half filled.
    """
    faults = _Faults()
    _fill(message, value, "", faults)
    faults.raise_if_any()


def fill_from_text(message: Message, pairs: Iterable[tuple[str, str]]) -> None:
    """Fills a message from the parameters of a URL: top-level scalars, times and durations.

    Raises `InvalidArgument` with one violation for each fault.
    """
    faults = _Faults()
    known = _decoders(message.DESCRIPTOR)
    for name, text in pairs:
        entry = known.get(name)
        if entry is None or entry[0].is_repeated or _is_plain_message(entry[0]):
            faults.add(name, "is no parameter of this request")
        else:
            _set(message, entry, _from_text(entry[0], text), name, faults)
    faults.raise_if_any()


def _is_plain_message(field: FieldDescriptor) -> bool:
    return field.message_type is not None and field.message_type.full_name not in WELL_KNOWN


def _from_text(field: FieldDescriptor, text: str) -> object:
    if field.type == FieldDescriptor.TYPE_BOOL:
        return {"true": True, "false": False}.get(text, text)
    is_time = field.message_type and field.message_type.full_name == "google.protobuf.Timestamp"
    if is_time and DAY.fullmatch(text):
        return f"{text}T00:00:00Z"
    return text


@cache
def _decoders(descriptor: Descriptor) -> dict[str, tuple[FieldDescriptor, Decode | None]]:
    entries: dict[str, tuple[FieldDescriptor, Decode | None]] = {}
    for field in descriptor.fields:
        entry = (field, None if _is_plain_message(field) else _decoder(field))
        entries[field.name] = entries[field.json_name] = entry
    return entries


def _fill(message: Message, value: object, path: str, faults: _Faults) -> None:
    if not isinstance(value, Mapping):
        faults.add(path, "must be an object")
        return
    known = _decoders(message.DESCRIPTOR)
    seen: set[str] = set()
    for name, member in value.items():
        where = f"{path}.{name}" if path else name
        entry = known.get(name)
        if entry is None:
            faults.add(where, "is unknown")
        elif member is not None:
            field = entry[0]
            slot = field.containing_oneof.name if field.containing_oneof else field.name
            if slot in seen:
                faults.add(where, "is given twice, or beside another field that excludes it")
            seen.add(slot)
            _set(message, entry, member, where, faults)


def _set(
    message: Message,
    entry: tuple[FieldDescriptor, Decode | None],
    value: object,
    path: str,
    faults: _Faults,
) -> None:
    field, decode = entry
    if field.is_repeated:
        _set_repeated(message, entry, value, path, faults)
    elif decode is None:
        target = getattr(message, field.name)
        target.SetInParent()
        _fill(target, value, path, faults)
    else:
        try:
            decoded = decode(value)
        except ValueError as fault:
            faults.add(path, str(fault))
            return
        if isinstance(decoded, Message):
            getattr(message, field.name).CopyFrom(decoded)
        else:
            setattr(message, field.name, decoded)


def _set_repeated(
    message: Message,
    entry: tuple[FieldDescriptor, Decode | None],
    value: object,
    path: str,
    faults: _Faults,
) -> None:
    field, decode = entry
    if not isinstance(value, list):
        faults.add(path, "must be an array")
        return
    target = getattr(message, field.name)
    for index, member in enumerate(value):
        where = f"{path}[{index}]"
        if decode is None:
            _fill(target.add(), member, where, faults)
            continue
        try:
            target.append(decode(member))
        except ValueError as fault:
            faults.add(where, str(fault))


def _decoder(field: FieldDescriptor) -> Decode:
    if field.message_type is not None:
        return _time_decoder(field.message_type)
    if field.enum_type is not None:
        return _enum_decoder(field.enum_type)
    if field.type in INTEGERS:
        return _integer_decoder(*INTEGERS[field.type])
    if field.type == FieldDescriptor.TYPE_STRING:
        return _decode_string
    if field.type == FieldDescriptor.TYPE_BOOL:
        return _decode_bool
    if field.type == FieldDescriptor.TYPE_BYTES:
        return _decode_bytes
    raise TypeError(f"{field.full_name}: contracts of the mesh have no floating-point numbers")


def _decode_string(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError("must be a string")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ValueError("must be valid Unicode") from None
    if "\0" in value:
        # PostgreSQL keeps no text with it, and no name or sentence has it.
        raise ValueError("must not hold a NUL character")
    return value


def _decode_bool(value: object) -> bool:
    if not isinstance(value, bool):
        raise ValueError("must be true or false")
    return value


def _decode_bytes(value: object) -> bytes:
    try:
        return base64.b64decode(_decode_string(value), validate=True)
    except binascii.Error:
        raise ValueError("must be base64") from None


def _integer_decoder(low: int, high: int) -> Decode:
    def decode(value: object) -> int:
        if isinstance(value, str) and DECIMAL.fullmatch(value):
            value = int(value)
        if not isinstance(value, int) or isinstance(value, bool):
            raise ValueError("must be a whole number")
        if not low <= value <= high:
            raise ValueError(f"must be from {low} to {high}")
        return value

    return decode


def _enum_decoder(enum: EnumDescriptor) -> Decode:
    numbers = {value.name: value.number for value in enum.values}
    numbers |= {value.name.removeprefix(_prefix(enum)): value.number for value in enum.values}

    def decode(value: object) -> int:
        if not isinstance(value, str) or value not in numbers:
            raise ValueError(f"must be one of {', '.join(map(str, _short_names(enum)))}")
        return numbers[value]

    return decode


def _short_names(enum: EnumDescriptor) -> list[str | int]:
    return [enum_name(enum, value.number) for value in enum.values if value.number]


def _time_decoder(descriptor: Descriptor) -> Decode:
    example = "2026-01-31T12:00:00Z" if descriptor.name == "Timestamp" else "1.5s"

    def decode(value: object) -> Message:
        message: Any = message_factory.GetMessageClass(descriptor)()
        try:
            message.FromJsonString(_decode_string(value))
            if descriptor.name == "Timestamp":
                date.fromisoformat(str(value)[:10])
        except ValueError:
            raise ValueError(f"must look like {example}") from None
        made: Message = message
        return made

    return decode
