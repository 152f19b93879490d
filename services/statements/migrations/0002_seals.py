"""The seal that each line has in the ledger; empty for lines that are older than seals."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.add_column(
        "lines",
        sa.Column("seal", sa.LargeBinary, nullable=False, server_default=sa.text("''")),
    )
