"""Why a database says no.

A constraint that speaks is an answer that the caller of the unit of work may expect, and gives a
meaning to. `Transient` (mesh.errors) is raised instead when there is no answer: the database is
locked, full, restarting or gone.
"""

from __future__ import annotations

from mesh.errors import Transient

__all__ = ["CheckViolated", "ConstraintViolated", "UniqueViolated", "unavailable"]


class ConstraintViolated(Exception):
    """A constraint of the schema refused a row. `constraint` is its name, the same on both.

    The unit of work is over: whatever it does next, nothing of it is kept. Where a refusal is
    expected, prefer `ON CONFLICT DO NOTHING` or a guarded `UPDATE`, and count the rows.
    """

    def __init__(self, constraint: str) -> None:
        super().__init__(constraint)
        self.constraint = constraint


class UniqueViolated(ConstraintViolated):
    """There is such a row already."""


class CheckViolated(ConstraintViolated):
    """A CHECK, or a trigger, does not allow the row. A trigger is named by its message."""


def unavailable(why: str) -> Transient:
    """There is no answer from the database: it is locked, restarting or gone."""
    return Transient("DATABASE_UNAVAILABLE", f"The database is not available: {why}.")
