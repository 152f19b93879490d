from __future__ import annotations

from mesh.db.agree import differences
from services.users import credentials, store

from .driver import VERSIONS


def test_tables_and_migrations_agree() -> None:
    assert credentials.SessionRow.metadata is store.Table.metadata
    assert differences(store.Table.metadata, VERSIONS) == []
