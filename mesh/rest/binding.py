"""Which method answers which verb and path, read from `google.api.http` (AIP-127)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from buf.validate import validate_pb2
from google.api import annotations_pb2
from google.protobuf import message_factory
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.message import Message

from meshapi.v1 import options_pb2

__all__ = ["Binding", "bindings"]


@dataclass(frozen=True)
class Binding:
    """One route: a verb and a path template, and the method that answers."""

    verb: str
    path: str
    has_body: bool
    method: MethodDescriptor
    policy: options_pb2.Policy
    # The field of a response that is the body of the HTTP response, where it is a file.
    file_field: str = ""

    @property
    def creates(self) -> bool:
        """Tells whether success is `201 Created`: a POST of a standard Create method (AIP-133)."""
        return self.verb == "POST" and self.method.name.startswith("Create")

    @property
    def room(self) -> int:
        """Tells how many bytes a body may have beyond those of any other: room for the texts that
        the contract measures in bytes, which JSON may write twice as long.
        """
        fields = self.method.input_type.fields
        rules = [field.GetOptions().Extensions[validate_pb2.field] for field in fields]
        return 2 * sum(rule.string.max_bytes for rule in rules)

    def new_request(self) -> Message:
        """Makes an empty request of the method."""
        return message_factory.GetMessageClass(self.method.input_type)()


def bindings(services: Iterable[ServiceDescriptor], *, with_sandbox: bool) -> Iterator[Binding]:
    """Lists the routes of services, in the order of their contracts.

    Methods without a `google.api.http` option have none; sandbox methods only where asked for.
    Raises `TypeError` for an option that this edge cannot honour.
    """
    for service in services:
        for method in service.methods:
            options = method.GetOptions()
            policy = options.Extensions[options_pb2.policy]
            rule = options.Extensions[annotations_pb2.http]
            verb = rule.WhichOneof("pattern")
            if verb is None or (policy.sandbox and not with_sandbox):
                continue
            if rule.body not in ("", "*") or rule.additional_bindings or method.client_streaming:
                raise TypeError(f"{method.full_name}: only a whole body and one binding are served")
            yield Binding(
                verb.upper(),
                getattr(rule, verb),
                rule.body == "*",
                method,
                policy,
                _file_field(method, rule.response_body),
            )


def _file_field(method: MethodDescriptor, name: str) -> str:
    field = method.output_type.fields_by_name.get(name)
    body = field.message_type.full_name if field is not None and field.message_type else ""
    if name and (body != "google.api.HttpBody" or not method.server_streaming):
        raise TypeError(f"{method.full_name}: a response body is a stream of google.api.HttpBody")
    return name
