"""Where a database is: `sqlite:///path` or `postgresql://user:password@host:port/name`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

__all__ = ["PostgresUrl", "SqliteUrl", "parse"]


@dataclass(frozen=True)
class SqliteUrl:
    """A file: `sqlite:///relative/path` or `sqlite:////absolute/path`."""

    path: Path


@dataclass(frozen=True)
class PostgresUrl:
    """A server. `dsn` is for asyncpg; its path is the database, its query may name a socket."""

    dsn: str
    database: str


def parse(url: str) -> SqliteUrl | PostgresUrl:
    """Reads a URL; the driver that SQLAlchemy puts behind a `+` is ignored.

    Raises `ValueError` if it is none of the two. The message does not show the URL, which may hold
    a password.
    """
    scheme, separator, rest = url.partition("://")
    dialect = scheme.partition("+")[0]
    if separator and dialect == "sqlite":
        path = rest.partition("?")[0].removeprefix("/")
        if path and path != ":memory:":
            return SqliteUrl(Path(unquote(path)))
        raise ValueError("a SQLite database is a file: sqlite:///path")
    if separator and dialect in {"postgresql", "postgres"}:
        dsn = f"postgresql://{rest}"
        return PostgresUrl(dsn, unquote(urlsplit(dsn).path.removeprefix("/")) or "postgres")
    raise ValueError("a database is sqlite:///path or postgresql://user:password@host:port/name")
