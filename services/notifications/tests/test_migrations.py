from __future__ import annotations

from mesh.db.agree import differences
from services.notifications import tables

from .driver import VERSIONS


def test_tables_and_migrations_agree() -> None:
    assert differences(tables.Table.metadata, VERSIONS) == []
