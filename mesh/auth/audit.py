"""What is known of a look into a customer's affairs before it happens."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from google.protobuf.message import Message

from observability import logs

if TYPE_CHECKING:
    from mesh.rpc.context import Caller

__all__ = ["Audit", "StaffAccess", "to_log"]

log = logs.get_logger(__name__)


@dataclass(frozen=True, kw_only=True)
class StaffAccess:
    """A member of the staff calls a method with a request; the caller says why."""

    caller: Caller
    method: str
    request: Message


# Keeps it. The call is refused when this raises: what is not on record does not happen.
Audit = Callable[[StaffAccess], Awaitable[None]]


async def to_log(access: StaffAccess) -> None:
    """Writes an access into the log, where there is no database."""
    staff = access.caller.must_be_user()
    log.info(
        "staff access",
        extra={
            "staff_id": staff.user_id,
            "session_id": staff.session_id,
            "workload": access.caller.workload,
            "method": access.method,
            "access_reason": access.caller.reason,
        },
    )
