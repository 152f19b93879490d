"""What a message looks like: an event as JSON, without what its contract marks `debug_redact`.

Enveloped, it is a CloudEvent in structured mode (CloudEvents JSON format 1.0); raw, the event alone
with what is around it in headers (binary mode).
"""

from __future__ import annotations

import json
from typing import Any, Final, Literal

from google.protobuf import json_format
from google.protobuf.message import Message

from mesh.clock import from_us
from mesh.events import Event

__all__ = ["CONFIRMATION", "Format", "confirmation", "public", "written"]

Format = Literal["enveloped", "raw"]

CONFIRMATION: Final = "webhook.confirmation"
"""The type of the message with the token."""


def written(event: Event[Any], name: str, format: Format) -> tuple[bytes, dict[str, str]]:
    """Writes an event under a name of its type; gives the body and the headers."""
    data = public(event.data)
    time = from_us(event.time_us).isoformat().replace("+00:00", "Z")
    around = {
        "specversion": "1.0",
        "id": event.id,
        "type": name,
        "source": event.source,
        "subject": event.key,
        "time": time,
    }
    if event.version:
        around["sequence"] = str(event.version)
    if format == "raw":
        headers = {f"ce-{key}": value for key, value in around.items()}
        return _json(data), {**headers, "content-type": "application/json"}
    body = _json({**around, "datacontenttype": "application/json", "data": data})
    return body, {"content-type": "application/cloudevents+json"}


def confirmation(webhook_id: str, token: str) -> tuple[bytes, dict[str, str]]:
    """Writes the message with the token."""
    body = _json({"type": CONFIRMATION, "webhookId": webhook_id, "token": token})
    return body, {"content-type": "application/json"}


def public(message: Message) -> dict[str, Any]:
    """Makes canonical ProtoJSON of what everybody may see of a message."""
    shown = type(message)()
    shown.CopyFrom(message)
    shown.DiscardUnknownFields()
    _redact(shown)
    made: dict[str, Any] = json_format.MessageToDict(shown)
    return made


def _redact(message: Message) -> None:
    for field, value in message.ListFields():
        if field.GetOptions().debug_redact:
            message.ClearField(field.name)
        elif field.message_type is None:
            continue
        elif field.message_type.GetOptions().map_entry:
            if field.message_type.fields_by_name["value"].message_type is not None:
                for each in value.values():
                    _redact(each)
        else:
            for each in value if field.is_repeated else (value,):
                _redact(each)


def _json(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
