"""The unit of work, on SQLite and on PostgreSQL.

General layout:

statement        SQL, compiled once for both
unit, outbox     what a unit of work is, and what it leaves behind
together         one unit of work for the orders of many callers
database         what runs units
sqlite/          one writer thread with group commit, reader threads
postgres         a pool
spans            traces
tables           the mesh's own tables, for its migrations
migrate, agree   migrations: applying them, and checking them against the tables
"""

from __future__ import annotations

from collections.abc import Mapping

from google.protobuf.message import Message

from .database import Database, Units
from .errors import CheckViolated, ConstraintViolated, UniqueViolated
from .outbox import Envelope, Seal, Witness
from .statement import Statement, sql
from .together import Asked, Together
from .unit import Row, UnitOfWork
from .url import SqliteUrl, parse

__all__ = [
    "Asked",
    "CheckViolated",
    "ConstraintViolated",
    "Database",
    "Envelope",
    "Row",
    "Seal",
    "Statement",
    "Together",
    "UniqueViolated",
    "UnitOfWork",
    "Units",
    "Witness",
    "open_database",
    "sql",
]


async def open_database(
    url: str,
    *,
    seal: Seal | None = None,
    witness: Witness | None = None,
    readers: int = 2,
    pool: int = 10,
    lock_timeout_s: float = 5.0,
    max_waiting: int = 2048,
) -> Database:
    """Opens a database that has been migrated.

    `seal` makes envelopes of published events; without it nothing can be published. `witness`
    makes records of who has changed what; without it none are kept. `readers` are the threads that
    read SQLite, `pool` the connections to PostgreSQL. A unit waits for a lock at most
    `lock_timeout_s`; when `max_waiting` units wait, more are refused as `Overloaded`.

    Raises `ValueError` for a URL of neither, `Transient` if the database is not there or not up.
    """
    where = parse(url)
    seal = seal or _no_seal
    if isinstance(where, SqliteUrl):
        from .sqlite import SqliteDatabase

        sqlite = SqliteDatabase(
            where.path,
            seal,
            witness,
            readers=readers,
            lock_timeout_s=lock_timeout_s,
            max_waiting=max_waiting,
        )
        await sqlite.open()
        return sqlite
    from .postgres import PostgresDatabase

    postgres = PostgresDatabase(
        where, seal, witness, pool=pool, lock_timeout_s=lock_timeout_s, max_waiting=max_waiting
    )
    await postgres.open()
    return postgres


def _no_seal(event: Message, version: int, attributes: Mapping[str, str]) -> Envelope:
    raise RuntimeError("this database was opened without a seal: it publishes nothing")
