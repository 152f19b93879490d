from pathlib import Path

from mesh.db.agree import differences
from services.pix import tables

VERSIONS = Path(tables.__file__).parent / "migrations"


def test_tables_and_migrations_agree() -> None:
    assert differences(tables.Table.metadata, VERSIONS) == []
