"""When a session has proven a second factor last."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    never = sa.Column("second_factor_at_us", sa.BigInteger, nullable=False, server_default="0")
    op.add_column("sessions", never)
    op.execute("UPDATE sessions SET second_factor_at_us = began_at_us WHERE totp_step > 0")


def downgrade() -> None:
    op.drop_column("sessions", "second_factor_at_us")
