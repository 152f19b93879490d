"""The `traceparent` header of W3C Trace Context 1: who the parent is, from process to process."""

from __future__ import annotations

import re
from typing import Final

__all__ = ["read", "write"]

_HEADER: Final = re.compile(
    r"(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(-.*)?",
    re.ASCII,
)
_MAX_LENGTH: Final = 256


def read(header: str | None) -> tuple[int, int, int] | None:
    """Reads the trace, the span and the flags of a header; None if there is none or it is invalid.

    Later versions may say more than that; version 00 may not.
    """
    if not header or len(header) > _MAX_LENGTH:
        return None
    match = _HEADER.fullmatch(header)
    if match is None:
        return None
    version, trace_id, span_id, flags, rest = match.groups()
    if version == "00" and rest is not None:
        return None
    return int(trace_id, 16), int(span_id, 16), int(flags, 16)


def write(trace_id: int, span_id: int, flags: int) -> str:
    """Writes a header."""
    return f"00-{trace_id:032x}-{span_id:016x}-{flags:02x}"
