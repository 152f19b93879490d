"""What is known of a look into a customer's affairs before it happens."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from observability import logs

__all__ = ["Audit", "StaffAccess", "to_log"]

log = logs.get_logger(__name__)


@dataclass(frozen=True, kw_only=True)
class StaffAccess:
    """A member of the staff calls a method, and says why."""

    staff_id: str
    session_id: str
    workload: str
    method: str
    reason: str


# Keeps it. The call is refused when this raises: what is not on record does not happen.
Audit = Callable[[StaffAccess], Awaitable[None]]


async def to_log(access: StaffAccess) -> None:
    """Writes an access into the log."""
    log.info(
        "staff access",
        extra={
            "staff_id": access.staff_id,
            "session_id": access.session_id,
            "workload": access.workload,
            "method": access.method,
            "access_reason": access.reason,
        },
    )
