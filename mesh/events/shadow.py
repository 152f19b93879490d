"""A second set of tables beside those in use, and the moment in which it takes their place.

On SQLite it is a second file, on PostgreSQL a second schema; either way it is a `Database`, to
which the same handlers write, and it has nothing but the tables that it was made for: a handler
that needs another one is found out.

The swap is one transaction of the database in use. It first takes the lock under which the cursors
move, so that nothing is applied meanwhile; what differs is taken away and put in, and the cursors
are set to those of the shadow.
"""

from __future__ import annotations

import asyncio
import re
import sqlite3
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from mesh.db import Database, open_database
from mesh.db.url import PostgresUrl, SqliteUrl, parse
from mesh.errors import FailedPrecondition, Transient

__all__ = ["Difference", "Shadow", "Swap", "shadow_of"]

_LOCK_TIMEOUT_S: Final = 10.0
_CURSORS: Final = "cursors"
_NAME: Final = re.compile(r"[a-z][a-z0-9_]*")


@dataclass(frozen=True, slots=True)
class Difference:
    """How many rows of the tables in use had to go, and how many had to come."""

    removed: int
    added: int


class Swap(ABC):
    """The transaction that puts a shadow in place. `live` names the tables in use."""

    live: str
    shadow: str

    def __init__(self, tables: Sequence[str]) -> None:
        self._tables = tables

    @abstractmethod
    async def run(self, statement: str, *arguments: object) -> int:
        """Runs a statement, and counts the rows that it touched."""

    @abstractmethod
    async def columns(self, table: str) -> tuple[list[str], list[str]]:
        """Gives the columns of a table, and those of its primary key."""

    async def replace(self, projection: str) -> Difference:
        """Makes the tables in use, and the cursors of the projection, equal to the shadow's."""
        removed = added = 0
        for table in self._tables:
            columns, key = await self.columns(table)
            names = ", ".join(columns)
            live, shadow = f"{self.live}.{table}", f"{self.shadow}.{table}"
            same_key = " AND ".join(f"shadow_row.{each} = live_row.{each}" for each in key)
            same = "".join(
                f" AND shadow_row.{each} IS NOT DISTINCT FROM live_row.{each}"
                for each in columns
                if each not in key
            )
            removed += await self.run(
                f"DELETE FROM {live} AS live_row WHERE NOT EXISTS"  # noqa: S608
                f" (SELECT 1 FROM {shadow} AS shadow_row WHERE {same_key}{same})"
            )
            # What has the same key now is the same.
            added += await self.run(
                f"INSERT INTO {live} ({names}) SELECT {names} FROM {shadow} AS shadow_row"  # noqa: S608
                f" WHERE NOT EXISTS (SELECT 1 FROM {live} AS live_row WHERE {same_key})"
            )
        same_place = (
            f"FROM {self.shadow}.cursors AS shadow_row"
            " WHERE shadow_row.projection = live_row.projection"
            " AND shadow_row.stream = live_row.stream"
        )
        await self.run(
            f"UPDATE {self.live}.cursors AS live_row"  # noqa: S608
            f" SET sequence = (SELECT shadow_row.sequence {same_place})"
            f" WHERE projection = ? AND EXISTS (SELECT 1 {same_place})",
            projection,
        )
        return Difference(removed, added)


class Shadow(ABC):
    """A second set of tables. `database` is where its handlers write."""

    database: Database

    def __init__(self, tables: Sequence[str], projection: str) -> None:
        self._tables = [*tables]
        self._projection = projection

    @abstractmethod
    async def open(self) -> None:
        """Makes the tables, empty."""

    async def close(self) -> None:
        """Waits for what was begun, and lets nothing more begin."""
        if hasattr(self, "database"):
            await self.database.close()

    @abstractmethod
    async def drop(self) -> None:
        """Takes the shadow away."""

    @abstractmethod
    def swap(self) -> Any:
        """Opens the transaction of the swap, with the cursors locked: an async context manager
        that gives a `Swap`, commits at its end, and rolls back when it is left with an error.
        """


def shadow_of(url: str, tables: Sequence[str], projection: str) -> Shadow:
    """Prepares a shadow beside the database of a URL; nothing is made yet.

    Raises `FailedPrecondition` if the projection declares no tables.
    """
    if not tables or not all(_NAME.fullmatch(table) for table in tables):
        raise FailedPrecondition(
            "NO_TABLES", f"The projection {projection} does not declare its tables."
        )
    where = parse(url)
    if isinstance(where, SqliteUrl):
        return _SqliteShadow(where, tables, projection)
    return _PostgresShadow(where, tables, projection)


class _SqliteSwap(Swap):
    live, shadow = "main", "shadow"

    def __init__(self, connection: sqlite3.Connection, tables: Sequence[str]) -> None:
        super().__init__(tables)
        self._connection = connection

    async def run(self, statement: str, *arguments: object) -> int:
        # Comparing large tables takes a while, and must not hold up the loop.
        cursor = await asyncio.to_thread(self._connection.execute, statement, arguments)
        return max(cursor.rowcount, 0)

    async def columns(self, table: str) -> tuple[list[str], list[str]]:
        found = self._connection.execute(
            "SELECT name, pk FROM pragma_table_info(?) ORDER BY cid", (table,)
        ).fetchall()
        key = [name for name, place in sorted(found, key=lambda each: each[1]) if place]
        return [name for name, _ in found], key


class _SqliteShadow(Shadow):
    def __init__(self, where: SqliteUrl, tables: Sequence[str], projection: str) -> None:
        super().__init__(tables, projection)
        self._live = where.path
        self._path = Path(f"{where.path}.rebuild-{projection}")

    async def open(self) -> None:
        self._remove()
        await asyncio.to_thread(self._make)
        self.database = await open_database(f"sqlite:///{self._path}")

    async def drop(self) -> None:
        await self.close()
        self._remove()

    @asynccontextmanager
    async def swap(self) -> AsyncIterator[_SqliteSwap]:
        connection = sqlite3.connect(
            self._live, timeout=_LOCK_TIMEOUT_S, isolation_level=None, check_same_thread=False
        )
        with closing(connection):
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("ATTACH ? AS shadow", (str(self._path),))
            connection.execute("BEGIN")
            swap = _SqliteSwap(connection, self._tables)
            try:
                # The first statement writes to the file in use, and locks that alone: the shadow
                # can still catch up.
                await swap.run(
                    "UPDATE main.cursors SET sequence = sequence WHERE projection = ?",
                    self._projection,
                )
                yield swap
                await asyncio.to_thread(connection.execute, "COMMIT")
            except sqlite3.OperationalError as error:
                raise Transient("DATABASE_UNAVAILABLE", str(error)) from error
            finally:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")

    def _make(self) -> None:
        with closing(sqlite3.connect(self._live)) as live:
            found = {
                table: live.execute(
                    "SELECT sql FROM sqlite_master WHERE tbl_name = ? AND sql IS NOT NULL"
                    " ORDER BY type DESC",
                    (table,),
                ).fetchall()
                for table in [*self._tables, _CURSORS]
            }
        if missing := [table for table, statements in found.items() if not statements]:
            raise FailedPrecondition("NO_SUCH_TABLE", f"There is no table {missing[0]}.")
        with closing(sqlite3.connect(self._path)) as made:
            for statements in found.values():
                for (statement,) in statements:
                    made.execute(statement)
            made.commit()

    def _remove(self) -> None:
        for end in ("", "-wal", "-shm"):
            Path(f"{self._path}{end}").unlink(missing_ok=True)


class _PostgresSwap(Swap):
    def __init__(self, connection: Any, live: str, shadow: str, tables: Sequence[str]) -> None:
        super().__init__(tables)
        self._connection = connection
        self.live, self.shadow = live, shadow

    async def run(self, statement: str, *arguments: object) -> int:
        numbers = iter(range(1, len(arguments) + 1))
        status: str = await self._connection.execute(
            re.sub(r"\?", lambda _: f"${next(numbers)}", statement), *arguments
        )
        count = status.rpartition(" ")[2]
        return int(count) if count.isdecimal() else 0

    async def columns(self, table: str) -> tuple[list[str], list[str]]:
        found = await self._connection.fetch(
            "SELECT a.attname AS name, array_position(i.indkey::int2[], a.attnum) AS place"
            " FROM pg_attribute a LEFT JOIN pg_index i"
            " ON i.indrelid = a.attrelid AND i.indisprimary"
            " WHERE a.attrelid = to_regclass($1) AND a.attnum > 0 AND NOT a.attisdropped"
            " ORDER BY a.attnum",
            f"{self.live}.{table}",
        )
        key = sorted((row for row in found if row["place"] is not None), key=lambda r: r["place"])
        return [row["name"] for row in found], [row["name"] for row in key]


class _PostgresShadow(Shadow):
    def __init__(self, where: PostgresUrl, tables: Sequence[str], projection: str) -> None:
        super().__init__(tables, projection)
        self._where = where
        self._schema = f"rebuild_{re.sub(r'[^a-z0-9_]', '_', projection)}"
        self._live = ""

    async def open(self) -> None:
        import asyncpg

        connection = await asyncpg.connect(self._where.dsn, timeout=_LOCK_TIMEOUT_S)
        try:
            self._live = await connection.fetchval("SELECT current_schema()")
            await connection.execute(f"DROP SCHEMA IF EXISTS {self._schema} CASCADE")
            await connection.execute(f"CREATE SCHEMA {self._schema}")
            for table in [*self._tables, _CURSORS]:
                like = f"LIKE {self._live}.{table} INCLUDING ALL"
                await connection.execute(f"CREATE TABLE {self._schema}.{table} ({like})")
        except asyncpg.UndefinedTableError as error:
            raise FailedPrecondition("NO_SUCH_TABLE", str(error)) from None
        finally:
            await connection.close()
        separator = "&" if "?" in self._where.dsn else "?"
        self.database = await open_database(
            f"{self._where.dsn}{separator}search_path={self._schema}", pool=2
        )

    async def drop(self) -> None:
        import asyncpg

        await self.close()
        connection = await asyncpg.connect(self._where.dsn, timeout=_LOCK_TIMEOUT_S)
        try:
            await connection.execute(f"DROP SCHEMA IF EXISTS {self._schema} CASCADE")
        finally:
            await connection.close()

    @asynccontextmanager
    async def swap(self) -> AsyncIterator[_PostgresSwap]:
        import asyncpg

        connection = await asyncpg.connect(self._where.dsn, timeout=_LOCK_TIMEOUT_S)
        try:
            async with connection.transaction():
                swap = _PostgresSwap(connection, self._live, self._schema, self._tables)
                await swap.run(
                    f"UPDATE {self._live}.cursors SET sequence = sequence"  # noqa: S608
                    " WHERE projection = ?",
                    self._projection,
                )
                yield swap
        finally:
            await connection.close()
