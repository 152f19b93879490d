"""Migrations: the mesh's own, and a service's, each a history with a version table of its own.

A history is a folder of revisions, `0001_what.py`, `0002_what.py` …, in a line; the number is the
revision's id. They only go forward: a database that is ahead of the code is left as it is, so that
the release before can run beside the one that migrated it.
"""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from .errors import unavailable
from .url import PostgresUrl, SqliteUrl, parse

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

__all__ = ["MESH_VERSIONS", "VERSION_TABLES", "connected", "migrate"]

T = TypeVar("T")

MESH_VERSIONS = Path(__file__).parent / "migrations" / "versions"
VERSION_TABLES = ("mesh_revision", "service_revision")

_LOCK_TIMEOUT_S = 30.0
_ADVISORY_LOCK = 0x6D65_7368
# Alembic keeps what it migrates in module variables.
_alembic = threading.Lock()


@dataclass(frozen=True)
class _History:
    version_table: str
    versions: Path

    @property
    def newest(self) -> str:
        """The last revision of the folder; empty if there is none."""
        return max(
            (file.name.partition("_")[0] for file in self.versions.glob("[0-9]*.py")), default=""
        )


def migrate(url: str, versions: Path | None = None, *, create: bool = True) -> None:
    """Brings a database up to date: first the mesh's tables, then those of `versions`.

    It is all one transaction, and two processes that migrate the same database take turns. It
    blocks, so it is for a thread or a job; it costs one query when there is nothing to do. With
    `create=False` a SQLite file that is not there is not made.

    Raises `FileNotFoundError` in that case, `Transient` if the database is locked or not up.
    """
    where = parse(url)
    histories = [_History(VERSION_TABLES[0], MESH_VERSIONS)]
    if versions is not None:
        histories.append(_History(VERSION_TABLES[1], versions))
    if isinstance(where, SqliteUrl):
        _prepare(where.path, create)
        recorded = _recorded_in_sqlite(where)
    else:
        recorded = asyncio.run(_recorded_in_postgres(where))
    due = [history for history in histories if history.newest > recorded[history.version_table]]
    if due:
        with _alembic:
            connected(where, lambda connection: _upgrade(connection, due))


def connected(where: SqliteUrl | PostgresUrl, use: Callable[[Connection], T]) -> T:
    """Opens a SQLAlchemy connection in a transaction of its own, and calls `use` with it."""
    if isinstance(where, PostgresUrl):
        return asyncio.run(_connected_to_postgres(where, use))
    engine = _sqlite_engine(where)
    try:
        with engine.begin() as connection:
            return use(connection)
    finally:
        engine.dispose()


def _upgrade(connection: Connection, histories: list[_History]) -> None:
    from alembic import command
    from alembic.config import Config

    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_ADVISORY_LOCK})")
    for history in histories:
        config = Config()
        config.set_main_option("script_location", _escaped(MESH_VERSIONS.parent))
        config.set_main_option("path_separator", "newline")
        config.set_main_option("version_locations", _escaped(history.versions.resolve()))
        config.attributes["connection"] = connection
        config.attributes["version_table"] = history.version_table
        command.upgrade(config, "head")


def _escaped(path: Path) -> str:
    return str(path).replace("%", "%%")


def _prepare(path: Path, create: bool) -> None:
    if path.exists():
        return
    if not create:
        raise FileNotFoundError(f"there is no database at {path}")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch(mode=0o600)


def _sqlite_engine(where: SqliteUrl) -> Engine:
    from sqlalchemy import create_engine, event
    from sqlalchemy.exc import OperationalError
    from sqlalchemy.pool import NullPool

    def connect() -> sqlite3.Connection:
        connection = sqlite3.connect(where.path, timeout=_LOCK_TIMEOUT_S, isolation_level=None)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        return connection

    engine = create_engine("sqlite://", creator=connect, poolclass=NullPool)

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        try:
            connection.exec_driver_sql("BEGIN IMMEDIATE")
        except OperationalError as error:
            raise unavailable(str(error.orig)) from error

    return engine


def _recorded_in_sqlite(where: SqliteUrl) -> Mapping[str, str]:
    recorded = dict.fromkeys(VERSION_TABLES, "")
    with closing(sqlite3.connect(where.path, timeout=_LOCK_TIMEOUT_S)) as connection:
        try:
            for (table,) in connection.execute(
                "SELECT name FROM sqlite_master WHERE name IN (?, ?)", VERSION_TABLES
            ).fetchall():
                for (revision,) in connection.execute(f"SELECT version_num FROM {table}"):  # noqa: S608
                    recorded[table] = revision
        except sqlite3.OperationalError as error:
            raise unavailable(str(error)) from error
    return recorded


async def _recorded_in_postgres(where: PostgresUrl) -> Mapping[str, str]:
    import asyncpg

    recorded = dict.fromkeys(VERSION_TABLES, "")
    try:
        connection = await asyncpg.connect(where.dsn, timeout=_LOCK_TIMEOUT_S)
    except (OSError, asyncpg.CannotConnectNowError, asyncpg.TooManyConnectionsError) as error:
        raise unavailable(type(error).__name__) from error
    try:
        for table in VERSION_TABLES:
            if await connection.fetchval("SELECT to_regclass($1)", table) is not None:
                revision = await connection.fetchval(f"SELECT version_num FROM {table}")  # noqa: S608
                recorded[table] = revision or ""
    finally:
        await connection.close()
    return recorded


async def _connected_to_postgres(where: PostgresUrl, use: Callable[[Connection], T]) -> T:
    import asyncpg
    from sqlalchemy.ext.asyncio import create_async_engine
    from sqlalchemy.pool import NullPool

    engine = create_async_engine(
        "postgresql+asyncpg://",
        async_creator=lambda: asyncpg.connect(where.dsn, timeout=_LOCK_TIMEOUT_S),
        poolclass=NullPool,
    )
    try:
        async with engine.begin() as connection:
            return await connection.run_sync(use)
    finally:
        await engine.dispose()
