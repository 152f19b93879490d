"""What people want to be told, in which language; summaries; what was read."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("messages") as table:
        table.add_column(
            sa.Column("language", sa.Text, nullable=False, server_default=sa.text("'pt-BR'"))
        )
        table.add_column(sa.Column("in_app", sa.Boolean, nullable=False, server_default=sa.true()))
        table.add_column(sa.Column("by_mail", sa.Boolean, nullable=False, server_default=sa.true()))
        table.add_column(sa.Column("digest_at_us", sa.BigInteger))
        table.add_column(sa.Column("read_at_us", sa.BigInteger))
        # One event may be told to several people, and to each of them once.
        table.drop_constraint("messages_event", type_="unique")
        table.create_unique_constraint("messages_event", ["event_id", "user_id"])
    op.execute(
        "UPDATE messages SET in_app = false"
        " WHERE kind IN ('CONFIRMATION', 'PASSWORD_RESET', 'INVITATION')"
    )
    op.create_index("messages_digest", "messages", ["user_id", "digest_at_us"])
    op.create_index("members_company", "members", ["company_id", "role"])
    op.create_table(
        "preferences",
        sa.Column("user_id", sa.Text, primary_key=True),
        sa.Column("language", sa.Text, nullable=False),
        sa.Column("digest_hour", sa.Integer, nullable=False),
        sa.Column("kinds", sa.Text, nullable=False),
    )
    op.create_table(
        "scheduled_transfers",
        sa.Column("transfer_id", sa.Text, primary_key=True),
        sa.Column("scheduled_for_us", sa.BigInteger, nullable=False),
    )


def downgrade() -> None:
    op.drop_table("scheduled_transfers")
    op.drop_table("preferences")
    op.drop_index("members_company", "members")
    op.drop_index("messages_digest", "messages")
    with op.batch_alter_table("messages") as table:
        table.drop_constraint("messages_event", type_="unique")
        table.create_unique_constraint("messages_event", ["event_id"])
        for column in ("read_at_us", "digest_at_us", "by_mail", "in_app", "language"):
            table.drop_column(column)
