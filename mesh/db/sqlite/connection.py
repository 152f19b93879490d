"""Connections to a SQLite file: one that writes, and some that only read."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from mesh.db.errors import unavailable

__all__ = ["connect"]

_CACHED_STATEMENTS = 512


def connect(path: Path, *, writes: bool, lock_timeout_s: float) -> sqlite3.Connection:
    """Opens a database file that exists.

    The write-ahead log lets readers go on beside the writer; FULL keeps a commit across a power
    cut; and transactions are begun by us, for what the driver begins is begun too late to see what
    it overwrites.

    Raises `Transient` if the file is not there, or is locked for longer than `lock_timeout_s`.
    """
    mode = "rw" if writes else "ro"
    try:
        connection = sqlite3.connect(
            f"{path.resolve().as_uri()}?mode={mode}",
            uri=True,
            timeout=lock_timeout_s,
            isolation_level=None,
            check_same_thread=False,
            cached_statements=_CACHED_STATEMENTS,
        )
    except sqlite3.OperationalError as error:
        raise unavailable(f"{path} cannot be opened; has it been migrated?") from error
    try:
        connection.row_factory = sqlite3.Row
        if writes:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA temp_store = MEMORY")
    except sqlite3.OperationalError as error:
        connection.close()
        raise unavailable(str(error)) from error
    except BaseException:
        connection.close()
        raise
    return connection
