"""Reads the bodies of requests: JSON, within bounds of size and depth."""

from __future__ import annotations

import json
from typing import NoReturn

from starlette.requests import ClientDisconnect, Request

from mesh.errors import InvalidArgument, Violation
from mesh.rest.problem import Problem

__all__ = ["MAX_BODY_BYTES", "MAX_DEPTH", "decode", "read_body"]

# Far above any request of the contracts but those that carry a file, far below what would hurt.
MAX_BODY_BYTES = 64 * 1024
# What is too large is read to here and thrown away: who is still sending does not hear an answer.
MAX_DISCARDED_BYTES = 8 * 1024 * 1024
# Far deeper than any contract.
MAX_DEPTH = 32

NAME_TWICE = "a name is given twice"


async def read_body(request: Request, most: int) -> bytes:
    """Reads a body of `most` bytes at the most. Raises `Problem` when it is none, or not JSON."""
    media_type = request.headers.get("content-type", "application/json").partition(";")[0].strip()
    if media_type.lower() != "application/json":
        raise Problem(415, "UNSUPPORTED_MEDIA_TYPE", "The body must be application/json.")
    body = bytearray()
    length = 0
    try:
        async for chunk in request.stream():
            length += len(chunk)
            if length <= most:
                body += chunk
            elif length > MAX_DISCARDED_BYTES:
                break
    except ClientDisconnect:
        raise Problem(400, "BODY_INCOMPLETE", "The body ended early.") from None
    if length > most:
        detail = f"The body may have {most} bytes at the most."
        raise Problem(413, "BODY_TOO_LARGE", detail, headers={"Connection": "close"})
    return bytes(body)


def decode(body: bytes) -> object:
    """Decodes JSON (RFC 8259) strictly: UTF-8, no name twice, no fractions, no NaN.

    Raises `InvalidArgument`. No contract has a fractional number, so that none may come near money.
    """
    if not body.strip():
        return {}
    try:
        value = json.loads(
            body.decode("utf-8"),
            object_pairs_hook=_object,
            parse_float=_refuse_fraction,
            parse_constant=_refuse_fraction,
        )
    except UnicodeDecodeError:
        raise InvalidArgument("MALFORMED_JSON", "The body is not UTF-8.") from None
    except RecursionError:
        raise InvalidArgument("MALFORMED_JSON", "The body is nested too deeply.") from None
    except ValueError as fault:
        raise InvalidArgument("MALFORMED_JSON", f"The body is not JSON: {_fault(fault)}.") from None
    if body.count(b"{") + body.count(b"[") > MAX_DEPTH and _depth(value) > MAX_DEPTH:
        raise InvalidArgument("MALFORMED_JSON", "The body is nested too deeply.")
    return value


def _depth(value: object) -> int:
    """Tells how many objects and arrays are inside one another."""
    depth, level = 0, [value]
    while level := [each for each in level if isinstance(each, dict | list)]:
        depth += 1
        level = [
            inner for each in level for inner in (each.values() if isinstance(each, dict) else each)
        ]
    return depth


def _fault(fault: ValueError) -> str:
    if isinstance(fault, json.JSONDecodeError):
        return f"{fault.msg.lower()} at line {fault.lineno}, column {fault.colno}"
    return NAME_TWICE if fault.args == (NAME_TWICE,) else "a number is too long"


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    members = dict(pairs)
    if len(members) < len(pairs):
        raise ValueError(NAME_TWICE)
    return members


def _refuse_fraction(text: str) -> NoReturn:
    raise InvalidArgument(
        "INVALID_REQUEST",
        "Numbers are whole: amounts are counted in the currency's smallest unit.",
        Violation("", "has a number that is not whole"),
    )
