"""Holds may expire, and an entry may take another back, once."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.add_column(
        "holds", sa.Column("expires_at_us", sa.BigInteger, nullable=False, server_default="0")
    )
    # Only what is open is ever looked for by the time at which it expires.
    waits = sa.text("status = 'open' AND expires_at_us > 0")
    op.create_index(
        "holds_expiring", "holds", ["expires_at_us"], sqlite_where=waits, postgresql_where=waits
    )
    op.add_column("entries", sa.Column("reverses", sa.String(36)))
    # A refused reversal may be tried again under another id.
    stands = sa.text("refused = '' AND reverses IS NOT NULL")
    op.create_index(
        "entries_reverses",
        "entries",
        ["reverses"],
        unique=True,
        sqlite_where=stands,
        postgresql_where=stands,
    )
