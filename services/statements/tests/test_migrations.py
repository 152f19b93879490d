from __future__ import annotations

from mesh.db.agree import differences
from services.statements import store

from .driver import VERSIONS


def test_tables_and_migrations_agree() -> None:
    assert differences(store.Table.metadata, VERSIONS) == []
