from __future__ import annotations

from pathlib import Path

from mesh.db.agree import differences
from services.support import tables


def test_tables_and_migrations_agree() -> None:
    assert differences(tables.Table.metadata, Path(tables.__file__).parent / "migrations") == []
