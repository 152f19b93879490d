from __future__ import annotations

import asyncio
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import BigInteger, CheckConstraint, Column, MetaData, Table, Text

from mesh.db import open_database
from mesh.db.agree import differences
from mesh.db.migrate import connected, migrate
from mesh.db.tables import MeshTable
from mesh.db.url import parse
from mesh.errors import Transient

from .ledger import VERSIONS, open_account

SECOND = """
import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

def upgrade():
    op.add_column("notes", sa.Column("more", sa.Text))
"""
FIRST = """
import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

def upgrade():
    op.create_table("notes", sa.Column("id", sa.Text, primary_key=True))
"""


def columns(url: str, table: str) -> list[str]:
    def read(connection: object) -> list[str]:
        from sqlalchemy import inspect

        inspector = inspect(connection)
        if not inspector.has_table(table):
            return []
        return [column["name"] for column in inspector.get_columns(table)]

    return connected(parse(url), read)


async def test_a_database_is_brought_up_and_forward(empty_url: str, tmp_path: Path) -> None:
    versions = tmp_path / "versions 100%"
    versions.mkdir()
    (versions / "0001_notes.py").write_text(FIRST)
    await asyncio.to_thread(migrate, empty_url, versions)
    assert await asyncio.to_thread(columns, empty_url, "notes") == ["id"]
    assert "sent_at_us" in await asyncio.to_thread(columns, empty_url, "outbox")
    (versions / "0002_more.py").write_text(SECOND)
    await asyncio.to_thread(migrate, empty_url, versions)
    await asyncio.to_thread(migrate, empty_url, versions)
    assert await asyncio.to_thread(columns, empty_url, "notes") == ["id", "more"]


async def test_a_database_that_is_ahead_is_left_as_it_is(empty_url: str, tmp_path: Path) -> None:
    versions = tmp_path / "versions"
    versions.mkdir()
    (versions / "0001_notes.py").write_text(FIRST)
    second = versions / "0002_more.py"
    second.write_text(SECOND)
    await asyncio.to_thread(migrate, empty_url, versions)
    second.unlink()
    await asyncio.to_thread(migrate, empty_url, versions)
    assert await asyncio.to_thread(columns, empty_url, "notes") == ["id", "more"]


async def test_a_migration_that_fails_leaves_nothing(empty_url: str, tmp_path: Path) -> None:
    versions = tmp_path / "versions"
    versions.mkdir()
    (versions / "0001_notes.py").write_text(FIRST + "    raise ZeroDivisionError\n")
    with pytest.raises(ZeroDivisionError):
        await asyncio.to_thread(migrate, empty_url, versions)
    assert await asyncio.to_thread(columns, empty_url, "notes") == []
    assert await asyncio.to_thread(columns, empty_url, "outbox") == []


async def test_two_that_migrate_at_once_take_turns(empty_url: str) -> None:
    program = "import sys, pathlib; from mesh.db.migrate import migrate; "
    program += "migrate(sys.argv[1], pathlib.Path(sys.argv[2]))"
    processes = [
        await asyncio.create_subprocess_exec(
            sys.executable, "-c", program, empty_url, str(VERSIONS)
        )
        for _ in range(3)
    ]
    assert [await process.wait() for process in processes] == [0, 0, 0]
    database = await open_database(empty_url)
    await database.transact(open_account, "a")
    await database.close()


def test_a_database_that_is_locked_is_transient(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mesh.db.migrate._LOCK_TIMEOUT_S", 0.05)
    migrate(f"sqlite:///{tmp_path}/bank.db")
    with closing(sqlite3.connect(tmp_path / "bank.db")) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(Transient):
            migrate(f"sqlite:///{tmp_path}/bank.db", VERSIONS)


def test_nothing_to_do_costs_no_alembic(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/new/bank.db"
    migrate(url, VERSIONS)
    program = "import sys, pathlib; from mesh.db.migrate import migrate; "
    program += "migrate(sys.argv[1], pathlib.Path(sys.argv[2])); "
    program += "assert not {'alembic', 'sqlalchemy', 'asyncpg'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", program, url, str(VERSIONS)], check=True)


def test_a_database_is_private_and_can_be_asked_to_be_there(tmp_path: Path) -> None:
    path = tmp_path / "bank.db"
    with pytest.raises(FileNotFoundError):
        migrate(f"sqlite:///{path}", create=False)
    migrate(f"sqlite:///{path}")
    assert path.stat().st_mode & 0o777 == 0o600
    migrate(f"sqlite:///{path}", create=False)
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_the_tables_of_the_mesh_and_their_migrations_agree() -> None:
    assert differences(MeshTable.metadata, None) == []


def test_a_disagreement_is_told_in_words(tmp_path: Path) -> None:
    (tmp_path / "0001_notes.py").write_text(FIRST)
    metadata = MetaData()
    Table(
        "notes",
        metadata,
        Column("id", Text, primary_key=True),
        Column("size", BigInteger, nullable=False),
        CheckConstraint("size > 0", name="notes_not_empty"),
    )
    assert differences(metadata, tmp_path) == [
        "only in the tables: notes: check notes_not_empty (size > 0)",
        "only in the tables: notes: column size BIGINT NOT NULL",
    ]
