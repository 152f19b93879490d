"""Where the charge behind a code stands."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    empty = sa.text("''")
    op.add_column(
        "qr_codes", sa.Column("location", sa.String(77), nullable=False, server_default=empty)
    )
    # The thumbprint of a key has 43 letters (RFC 7638).
    with op.batch_alter_table("signing_keys") as table:
        table.alter_column("kid", type_=sa.String(43), existing_nullable=False)
