"""Whether tables and migrations agree: a table is declared once for reading, and made by the other.

For a test in each service:

    def test_tables_and_migrations_agree() -> None:
        assert differences(TransfersTable.metadata, VERSIONS) == []
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from sqlalchemy import Connection, Inspector, MetaData, inspect

from .migrate import VERSION_TABLES, connected, migrate
from .tables import MeshTable
from .url import SqliteUrl, parse

__all__ = ["differences"]


def differences(metadata: MetaData, versions: Path | None) -> list[str]:
    """Compares tables as they are declared with tables as the migrations make them, on SQLite.

    Columns, types, keys, checks, unique constraints, indexes; not triggers, which are only in the
    migrations. `versions=None` compares the mesh's own tables. It blocks.
    """
    with TemporaryDirectory() as folder:
        url = f"sqlite:///{folder}/migrated.db"
        migrate(url, versions)
        others = set(VERSION_TABLES)
        if versions is not None:
            others |= set(MeshTable.metadata.tables)
        declared = connected(
            SqliteUrl(Path(folder) / "declared.db"),
            lambda connection: _declared(connection, metadata),
        )
        migrated = connected(parse(url), lambda connection: _facts(connection, others))
    return sorted(
        [f"only in the tables: {fact}" for fact in declared - migrated]
        + [f"only in the migrations: {fact}" for fact in migrated - declared]
    )


def _declared(connection: Connection, metadata: MetaData) -> set[str]:
    metadata.create_all(connection)
    return _facts(connection, set())


def _facts(connection: Connection, without: set[str]) -> set[str]:
    inspector = inspect(connection)
    tables = [name for name in inspector.get_table_names() if name not in without]
    return {f"{table}: {fact}" for table in tables for fact in _of_table(inspector, table)}


def _of_table(inspector: Inspector, table: str) -> Iterator[str]:
    for column in inspector.get_columns(table):
        null = "NULL" if column["nullable"] else "NOT NULL"
        default = f" DEFAULT {column['default']}" if column["default"] is not None else ""
        yield f"column {column['name']} {column['type']} {null}{default}"
    yield f"primary key ({_listed(inspector.get_pk_constraint(table)['constrained_columns'])})"
    for check in inspector.get_check_constraints(table):
        yield f"check {check['name']} ({' '.join(check['sqltext'].split())})"
    for unique in inspector.get_unique_constraints(table):
        yield f"unique {unique['name']} ({_listed(unique['column_names'])})"
    for key in inspector.get_foreign_keys(table):
        target = f"{key['referred_table']} ({_listed(key['referred_columns'])})"
        yield f"foreign key {key['name']} ({_listed(key['constrained_columns'])}) to {target}"
    for index in inspector.get_indexes(table):
        unique_index = "unique index" if index["unique"] else "index"
        where = index.get("dialect_options", {}).get("sqlite_where", "")
        yield f"{unique_index} {index['name']} ({_listed(index['column_names'])}) {where}".strip()


def _listed(names: list[str | None] | list[str]) -> str:
    return ", ".join(name or "an expression" for name in names)
