"""A unit of work on SQLite. Every await is answered at once, on the thread of the connection."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence

from mesh.db.outbox import Seal, Witness
from mesh.db.statement import Statement
from mesh.db.unit import Row, UnitOfWork

from .refusals import explain

__all__ = ["SqliteUnit"]


class SqliteUnit(UnitOfWork):
    """One unit of a group that is committed together.

    From its first write on it has a savepoint, so that its end is its own.
    """

    __slots__ = ("_cursor", "_saved")

    def __init__(
        self, cursor: sqlite3.Cursor, seal: Seal, witness: Witness | None, *, writes: bool
    ) -> None:
        super().__init__(seal, witness, writes=writes)
        self._cursor = cursor
        self._saved = not writes

    async def execute(self, statement: Statement, /, **parameters: object) -> int:
        count = max(self._run(statement, parameters).rowcount, 0)
        if statement.writes and count:
            self.changed = True
        return count

    async def execute_many(
        self, statement: Statement, rows: Sequence[Mapping[str, object]], /
    ) -> None:
        arguments = [statement.bind(row) for row in rows]
        self._prepare(statement)
        try:
            self._cursor.executemany(statement.sqlite, arguments)
            self.changed = True
        except sqlite3.Error as error:
            raise self._failed(error) from error

    async def fetch_one(self, statement: Statement, /, **parameters: object) -> Row | None:
        cursor = self._run(statement, parameters)
        try:
            row: Row | None = cursor.fetchone()
        except sqlite3.Error as error:
            raise self._failed(error) from error
        if statement.writes and row is not None:
            self.changed = True
        return row

    async def fetch_all(self, statement: Statement, /, **parameters: object) -> list[Row]:
        cursor = self._run(statement, parameters)
        try:
            rows = cursor.fetchall()
        except sqlite3.Error as error:
            raise self._failed(error) from error
        if statement.writes and rows:
            self.changed = True
        return rows

    def keep(self) -> None:
        """Lets the unit be committed with its group."""
        if self.writes and self._saved:
            self._cursor.execute("RELEASE unit")
        self._end()

    def undo(self) -> None:
        """Takes back what the unit has done, and nothing else."""
        if self.writes and self._saved and self._cursor.connection.in_transaction:
            self._cursor.execute("ROLLBACK TO unit")
            self._cursor.execute("RELEASE unit")
        self._end()

    def _end(self) -> None:
        if self.failure is None:
            self.failure = RuntimeError("the unit of work is over")

    def _run(self, statement: Statement, parameters: Mapping[str, object]) -> sqlite3.Cursor:
        arguments = statement.bind(parameters)
        self._prepare(statement)
        try:
            return self._cursor.execute(statement.sqlite, arguments)
        except sqlite3.Error as error:
            raise self._failed(error) from error

    def _prepare(self, statement: Statement) -> None:
        if self.failure is not None:
            raise self.failure
        self.statements.append(statement)
        if statement.writes and not self._saved:
            self._cursor.execute("SAVEPOINT unit")
            self._saved = True

    def _failed(self, error: sqlite3.Error) -> BaseException:
        self.failure = explain(self._cursor.connection, error, writes=self.writes)
        return self.failure
