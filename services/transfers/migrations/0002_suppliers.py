"""Transfers to suppliers."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    empty = sa.text("''")
    for column in (
        sa.Column("supplier_id", sa.String(36), nullable=False, server_default=empty),
        sa.Column("payee_name", sa.String(140), nullable=False, server_default=empty),
    ):
        op.add_column("transfers", column)


def downgrade() -> None:
    for column in ("payee_name", "supplier_id"):
        op.drop_column("transfers", column)
