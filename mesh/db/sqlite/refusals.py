"""What SQLite's errors mean.

SQLite names the columns of a unique constraint that is broken, and not the constraint. Its name is
looked up in the schema; a constraint without one is named as PostgreSQL would name it.
"""

from __future__ import annotations

import re
import sqlite3

from mesh.db.errors import CheckViolated, ConstraintViolated, UniqueViolated, unavailable
from mesh.errors import Overloaded

__all__ = ["explain"]

_NO_ANSWER = {
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_PROTOCOL,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_INTERRUPT,
}
_UNIQUE = {
    sqlite3.SQLITE_CONSTRAINT_UNIQUE,
    sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY,
    sqlite3.SQLITE_CONSTRAINT_ROWID,
}
_NAMED = re.compile(
    r"CONSTRAINT\s+[\"`\[]?(\w+)[\"`\]]?\s+(?:UNIQUE|PRIMARY\s+KEY)\s*\(([^)]*)\)", re.IGNORECASE
)


def explain(connection: sqlite3.Connection, error: sqlite3.Error, *, writes: bool) -> Exception:
    """Says what an error is: a refusal, no answer, or (itself) a bug."""
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR)
    if code in _UNIQUE:
        return UniqueViolated(_unique(connection, str(error)))
    if code == sqlite3.SQLITE_CONSTRAINT_CHECK:
        return CheckViolated(_after_colon(str(error)))
    if code == sqlite3.SQLITE_CONSTRAINT_TRIGGER:
        return CheckViolated(str(error))
    if code & 0xFF == sqlite3.SQLITE_CONSTRAINT:
        return ConstraintViolated(str(error))
    if code & 0xFF == sqlite3.SQLITE_READONLY and not writes:
        return RuntimeError("a read cannot write")
    if code & 0xFF == sqlite3.SQLITE_FULL:
        return Overloaded("DATABASE_FULL", "The disk of the database is full.", retry_after_s=30)
    if code & 0xFF in _NO_ANSWER:
        return unavailable(str(error))
    return error


def _after_colon(message: str) -> str:
    return message.partition(": ")[2]


def _unique(connection: sqlite3.Connection, message: str) -> str:
    """The name of the unique constraint, from `UNIQUE constraint failed: table.column, …`."""
    broken = _after_colon(message)
    if broken.startswith("index "):
        return broken.removeprefix("index ").strip("'")
    table = broken.partition(".")[0]
    columns = [name.partition(".")[2] for name in broken.split(", ")]
    for name, unique, origin in connection.execute(
        'SELECT name, "unique", origin FROM pragma_index_list(?)', (table,)
    ):
        if unique and origin == "c":
            indexed = connection.execute("SELECT name FROM pragma_index_info(?)", (name,))
            if [row[0] for row in indexed] == columns:
                return str(name)
    found = connection.execute("SELECT sql FROM sqlite_master WHERE name = ?", (table,)).fetchone()
    for name, listed in _NAMED.findall(found[0] if found else ""):
        if [column.strip(' "`[]') for column in listed.split(",")] == columns:
            return str(name)
    keys = connection.execute(
        "SELECT name FROM pragma_table_info(?) WHERE pk > 0 ORDER BY pk", (table,)
    )
    if [row[0] for row in keys] == columns:
        return f"{table}_pkey"
    return "_".join([table, *columns, "key"])
