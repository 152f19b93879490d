"""New ids: UUIDv7 (RFC 9562), so that they sort by the time they were made."""

from __future__ import annotations

from uuid_utils import uuid7

__all__ = ["new_id"]


def new_id() -> str:
    """Makes an id: a UUIDv7 in its usual 36 characters."""
    return str(uuid7())
