"""The contract's own rules on a request (`buf.validate`), checked at the server's door."""

from __future__ import annotations

from google.protobuf.message import Message
from protovalidate import Validator
from protovalidate import Violation as Broken

from mesh.errors import InvalidArgument, Violation

__all__ = ["validate"]

# What is told of one request: a hostile one may break a rule thousands of times.
_MAX_VIOLATIONS = 20

_broken_rules = Validator().collect_violations


def validate(message: Message) -> None:
    """Checks a message against its contract.

    Raises `InvalidArgument`, reason `INVALID_REQUEST`, with a violation for each rule broken. The
    texts come from the contract, never from the request.
    """
    broken = _broken_rules(message)
    if not broken:
        return
    violations = [_violation(item) for item in broken[:_MAX_VIOLATIONS]]
    first = violations[0]
    raise InvalidArgument("INVALID_REQUEST", f"{first.field}: {first.description}.", *violations)


def _violation(broken: Broken) -> Violation:
    path = ""
    for element in broken.proto.field.elements if broken.proto.field else ():
        path += f".{element.field_name}"
        if element.subscript is not None:
            path += f"[{element.subscript.value}]"
    return Violation(path[1:], broken.proto.message or broken.proto.rule_id)
