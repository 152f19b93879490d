"""Messages, the development mailbox, and who owns which account."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "messages",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("event_id", sa.Text, nullable=False),
        sa.Column("user_id", sa.Text, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("subject", sa.Text, nullable=False),
        sa.Column("body", sa.Text, nullable=False),
        sa.Column("transfer_id", sa.Text, nullable=False),
        sa.Column("created_at_us", sa.BigInteger, nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.UniqueConstraint("event_id", name="messages_event"),
        sa.CheckConstraint(
            "status IN ('pending', 'sent', 'undeliverable')", name="messages_status"
        ),
    )
    op.create_index("messages_user", "messages", ["user_id", "id"])
    op.create_table(
        "mails",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("message_id", sa.Text, sa.ForeignKey("messages.id"), nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("to_address", sa.Text, nullable=False),
        sa.Column("to_key", sa.Text, nullable=False),
        sa.Column("subject", sa.Text, nullable=False),
        sa.Column("body", sa.Text, nullable=False),
        sa.Column("code", sa.Text, nullable=False),
        sa.Column("sent_at_us", sa.BigInteger, nullable=False),
        sa.UniqueConstraint("message_id", name="mails_message"),
    )
    op.create_index("mails_to", "mails", ["to_key", "id"])
    op.create_table(
        "owners",
        sa.Column("account_id", sa.Text, primary_key=True),
        sa.Column("user_id", sa.Text, nullable=False),
    )


def downgrade() -> None:
    for table in ("owners", "mails", "messages"):
        op.drop_table(table)
