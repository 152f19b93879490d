"""The envelope of an event: a subject, CloudEvents headers (NATS binding, binary mode), a payload.

The subject is the message's full name and the key: `bank.accounts.v1.EntryPosted.<account>`. A key
is percent-encoded where NATS would read it as more than one token.

`traceparent` names the span that sends the event. Its ids are made here, in the unit of work; the
relay records the span once the event is sent, after a crash too. So that it can, the span's own
parent is kept beside the event, in the header `PARENT_SPAN`, which does not leave the service.
"""

from __future__ import annotations

import re
import string
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Final, TypeVar
from urllib.parse import quote, unquote

from google.protobuf.descriptor import Descriptor
from google.protobuf.message import DecodeError, Message

from mesh.clock import from_us, now_us, to_us
from mesh.db.outbox import Envelope
from mesh.ids import new_id
from meshapi.v1 import options_pb2
from observability import tracing

from . import Event

__all__ = [
    "MAX_ATTRIBUTES",
    "MAX_PAYLOAD",
    "PARENT_SPAN",
    "SCHEDULED",
    "EventType",
    "Undecodable",
    "describe",
    "is_attribute",
    "open",
    "seal",
    "token_of",
]

M = TypeVar("M", bound=Message)

MAX_PAYLOAD: Final = 192 * 1024
"""The most bytes that an event may have. A server takes 256 KB, headers included."""

PARENT_SPAN: Final = "parent-span"

SCHEDULED: Final = "scheduled-as"
"""The header of an event that was told ahead of its time: the id that it had until then."""

MAX_ATTRIBUTES: Final = 10
"""The most attributes that an event may have, as in SNS."""

_CORE: Final = frozenset(
    ("ce-specversion", "ce-id", "ce-type", "ce-source", "ce-subject", "ce-sequence", "ce-time")
)
_ATTRIBUTE: Final = re.compile(r"[a-z][a-z0-9]{0,19}")
_MAX_ATTRIBUTE: Final = 256
_PLAIN: Final = "".join(each for each in string.punctuation if each != "%")

_PLAIN_TOKEN: Final = re.compile(r"[A-Za-z0-9_~-]+")


class Undecodable(Exception):
    """What came is not the event that its headers say it is."""


@dataclass(frozen=True, slots=True)
class EventType:
    """What the contract says of an event: its full name, the field that orders it, its stream."""

    name: str
    key: str
    stream: str

    @property
    def template(self) -> str:
        """The subject of any such event, with its key masked."""
        return f"{self.name}.{{{self.key}}}"

    @property
    def subjects(self) -> str:
        """The subjects of all such events."""
        return f"{self.name}.*"

    @property
    def stream_subjects(self) -> str:
        """The subjects of all events of the package, which its stream keeps."""
        return f"{self.name.rpartition('.')[0]}.>"


@cache
def describe(descriptor: Descriptor) -> EventType:
    """Reads what the contract says of an event. Raises `TypeError` if it is not one."""
    option = descriptor.GetOptions().Extensions[options_pb2.event]
    if option.key not in descriptor.fields_by_name or not option.stream:
        raise TypeError(f"{descriptor.full_name} is not an event: it lacks meshapi.v1.event")
    return EventType(descriptor.full_name, option.key, option.stream)


def seal(
    event: Message,
    version: int = 0,
    attributes: Mapping[str, str] | None = None,
    *,
    source: str,
) -> Envelope:
    """Puts an event into its envelope, under a new id and the current trace.

    `source` is the service that tells it. Raises `ValueError` if the event has no key or is too
    large, or for an attribute that cannot be one.
    """
    kind = describe(event.DESCRIPTOR)
    key = str(getattr(event, kind.key))
    payload = event.SerializeToString()
    if not key:
        raise ValueError(f"{kind.name} has no {kind.key}")
    if len(payload) > MAX_PAYLOAD:
        raise ValueError(f"{kind.name} has {len(payload)} bytes; {MAX_PAYLOAD} are allowed")
    event_id, told_at_us, token = new_id(), now_us(), token_of(key)
    headers = {
        "Nats-Msg-Id": event_id,
        "ce-specversion": "1.0",
        "ce-id": event_id,
        "ce-type": kind.name,
        "ce-source": source,
        "ce-subject": token,
        "ce-sequence": str(version),
        "ce-time": from_us(told_at_us).isoformat().replace("+00:00", "Z"),
        "content-type": "application/protobuf",
    }
    if attributes:
        headers |= _attributes(attributes)
    parent = tracing.current_span().get_span_context()
    sender = tracing.format_traceparent(tracing.allocate())
    if sender is not None:
        headers["traceparent"] = sender
        if parent.is_valid:
            headers[PARENT_SPAN] = f"{parent.span_id:016x}"
    return Envelope(
        event_id=event_id,
        subject=f"{kind.name}.{token}",
        type=kind.name,
        key=key,
        version=version,
        headers=headers,
        payload=payload,
        created_at_us=told_at_us,
    )


def open(
    kind: type[M],
    headers: Mapping[str, str],
    payload: bytes,
    *,
    subject: str = "",
    stream: str = "",
    sequence: int = 0,
) -> Event[M]:
    """Takes an event out of its envelope. Raises `Undecodable` if there is no such event in it."""
    data = kind()
    try:
        data.ParseFromString(payload)
        return Event(
            id=headers["ce-id"],
            type=headers["ce-type"],
            source=headers["ce-source"],
            subject=subject,
            key=unquote(headers["ce-subject"]),
            version=int(headers["ce-sequence"]),
            time_us=to_us(datetime.fromisoformat(headers["ce-time"])),
            traceparent=headers.get("traceparent", ""),
            data=data,
            stream=stream,
            sequence=sequence,
            attributes={
                name[3:]: unquote(value)
                for name, value in headers.items()
                if name.startswith("ce-") and name not in _CORE
            },
        )
    except (DecodeError, KeyError, TypeError, ValueError) as error:
        raise Undecodable(f"{kind.DESCRIPTOR.full_name}: {type(error).__name__}") from error


def is_attribute(name: str) -> bool:
    """Tells whether an attribute may be called so (CloudEvents 1.0, 2.1)."""
    return _ATTRIBUTE.fullmatch(name) is not None and f"ce-{name}" not in _CORE


def _attributes(attributes: Mapping[str, str]) -> dict[str, str]:
    """Makes headers of attributes (CloudEvents NATS binding, 3.2). Raises `ValueError`."""
    if len(attributes) > MAX_ATTRIBUTES:
        raise ValueError(f"{len(attributes)} attributes; {MAX_ATTRIBUTES} are allowed")
    headers = {}
    for name, value in attributes.items():
        if not is_attribute(name):
            raise ValueError(f"{name!r} cannot be an attribute")
        if not 0 < len(value) <= _MAX_ATTRIBUTE:
            raise ValueError(f"attribute {name} has {len(value)} characters")
        headers[f"ce-{name}"] = quote(value, safe=_PLAIN)
    return headers


def token_of(key: str) -> str:
    """Gives a key as the one token of a subject that it is (NATS, subject-based messaging)."""
    if _PLAIN_TOKEN.fullmatch(key):
        return key
    return quote(key, safe="").replace(".", "%2E")
