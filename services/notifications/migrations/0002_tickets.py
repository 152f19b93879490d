"""Messages about tickets."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    empty = sa.text("''")
    op.add_column("messages", sa.Column("ticket_id", sa.Text, nullable=False, server_default=empty))


def downgrade() -> None:
    op.drop_column("messages", "ticket_id")
