"""The three answers: done, refused, transient.

Error
├── Refused                the answer is no; asking again will not change it
│   ├── InvalidArgument    the request makes no sense, whatever the state of the system
│   ├── Unauthenticated    nobody knows who is asking
│   ├── PermissionDenied   the one who asks may not
│   │   └── StepUpRequired not before they have proven again who they are
│   ├── NotFound           there is no such thing, or it is not the asker's
│   ├── AlreadyExists      there is one already
│   └── FailedPrecondition the system is not in a state in which this can be done
└── Transient              no answer yet; ask again
    ├── Overloaded         ask again after a while
    ├── Behind             what is asked for is not here yet; ask again after a while
    └── DeadlineExceeded   the time ran out; what was asked for may have happened

Anything else that is raised is a bug, and leaves the service as INTERNAL.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

__all__ = [
    "AlreadyExists",
    "Behind",
    "DeadlineExceeded",
    "Error",
    "FailedPrecondition",
    "InvalidArgument",
    "NotFound",
    "Overloaded",
    "PermissionDenied",
    "Refused",
    "StepUpRequired",
    "Transient",
    "Unauthenticated",
    "Violation",
]


@dataclass(frozen=True)
class Violation:
    """A field that breaks a rule: its path in the request, and the rule in words."""

    field: str
    description: str


class Error(Exception):
    """The base of every error that may cross a service's border.

    `reason` is a stable name in UPPER_SNAKE_CASE, for programs; `message` is a sentence, for
    people, and carries nothing personal.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.metadata: dict[str, str] = {}

    def telling(self, **metadata: str) -> Self:
        """Adds what a program may want to know beside the reason: figures, never persons."""
        self.metadata.update(metadata)
        return self


class Refused(Error):
    """The answer is no; asking again will not change it."""


class InvalidArgument(Refused):
    """The request makes no sense, whatever the state of the system."""

    def __init__(self, reason: str, message: str, *violations: Violation) -> None:
        super().__init__(reason, message)
        self.violations = violations


class Unauthenticated(Refused):
    """Nobody knows who is asking."""


class PermissionDenied(Refused):
    """The one who asks may not."""


class StepUpRequired(PermissionDenied):
    """The one who asks may, once they prove a second factor again, not `max_age_s` seconds ago."""

    def __init__(
        self,
        max_age_s: float,
        reason: str = "STEP_UP_REQUIRED",
        message: str = "This needs a second factor, proven just now.",
    ) -> None:
        super().__init__(reason, message)
        self.max_age_s = max_age_s


class NotFound(Refused):
    """There is no such thing, or it is not the asker's."""


class AlreadyExists(Refused):
    """There is one already."""


class FailedPrecondition(Refused):
    """The system is not in a state in which this can be done."""


class Transient(Error):
    """There is no answer yet; ask again."""


class Overloaded(Transient):
    """There is too much to do; ask again after `retry_after_s` seconds."""

    def __init__(self, reason: str, message: str, retry_after_s: float = 1.0) -> None:
        super().__init__(reason, message)
        self.retry_after_s = retry_after_s


class Behind(Transient):
    """A copy does not include what its reader has seen happen; ask again after `retry_after_s`."""

    def __init__(self, reason: str, message: str, retry_after_s: float = 1.0) -> None:
        super().__init__(reason, message)
        self.retry_after_s = retry_after_s


class DeadlineExceeded(Transient):
    """The time ran out. What was asked for may have happened: ask, do not guess."""
