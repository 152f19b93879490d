"""Who was erased, so that what was on its way to them is not kept."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table("forgotten", sa.Column("user_id", sa.Text, primary_key=True))


def downgrade() -> None:
    op.drop_table("forgotten")
