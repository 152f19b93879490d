"""A failure as a person reads it: what happened, why, and what to try."""

from __future__ import annotations

__all__ = ["FAILED", "INTERRUPTED", "NOT_RUNNING", "USAGE", "Problem"]

FAILED = 1
USAGE = 2
NOT_RUNNING = 3
INTERRUPTED = 130


class Problem(Exception):
    """What went wrong in three lines; `exit_code` is what the command ends with."""

    def __init__(self, what: str, why: str, remedy: str, exit_code: int = FAILED) -> None:
        super().__init__(what)
        self.what = what
        self.why = why
        self.remedy = remedy
        self.exit_code = exit_code

    def __str__(self) -> str:
        return f"error: {self.what}\n  why: {self.why}\n  try: {self.remedy}"
