"""People, their companies, and what proves who they are."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    create_people()
    create_codes()
    create_sessions()


def create_people() -> None:
    op.create_table(
        "users",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("email", sa.Text, nullable=False),
        sa.Column("email_key", sa.Text, nullable=False),
        sa.Column("full_name", sa.Text, nullable=False),
        sa.Column("cpf", sa.Text, nullable=False),
        sa.Column("password_hash", sa.Text, nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.Column("created_at_us", sa.BigInteger, nullable=False),
        sa.Column("totp_secret", sa.Text, nullable=False),
        sa.Column("totp_enabled_at_us", sa.BigInteger),
        sa.Column("totp_last_step", sa.BigInteger, nullable=False),
        sa.UniqueConstraint("email_key", name="users_email"),
        sa.CheckConstraint("status IN ('pending', 'confirmed', 'disabled')", name="users_status"),
    )
    op.create_table(
        "companies",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("owner_id", sa.Text, sa.ForeignKey("users.id"), nullable=False),
        sa.Column("legal_name", sa.Text, nullable=False),
        sa.Column("cnpj", sa.Text, nullable=False),
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.Column("opened_at_us", sa.BigInteger),
    )
    op.create_index("companies_owner", "companies", ["owner_id"])
    op.create_table(
        "memberships",
        sa.Column("user_id", sa.Text, sa.ForeignKey("users.id"), primary_key=True),
        sa.Column("company_id", sa.Text, sa.ForeignKey("companies.id"), primary_key=True),
        sa.Column("role", sa.Text, nullable=False),
        sa.CheckConstraint(
            "role IN ('owner', 'approver', 'operator', 'accountant', 'viewer')",
            name="memberships_role",
        ),
    )


def create_codes() -> None:
    op.create_table(
        "codes",
        sa.Column("user_id", sa.Text, sa.ForeignKey("users.id"), primary_key=True),
        sa.Column("purpose", sa.Text, primary_key=True),
        sa.Column("code_hash", sa.Text, nullable=False),
        sa.Column("expires_at_us", sa.BigInteger, nullable=False),
        sa.Column("tries_left", sa.Integer, nullable=False),
        sa.Column("asked", sa.Integer, nullable=False),
        sa.Column("asked_since_us", sa.BigInteger, nullable=False),
        sa.CheckConstraint("tries_left >= 0", name="codes_tries"),
    )
    op.create_table(
        "sign_in_failures",
        sa.Column("email_key", sa.Text, primary_key=True),
        sa.Column("count", sa.Integer, nullable=False),
        sa.Column("last_us", sa.BigInteger, nullable=False),
    )
    op.create_index("sign_in_failures_last", "sign_in_failures", ["last_us"])


def create_sessions() -> None:
    op.create_table(
        "sessions",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("user_id", sa.Text, sa.ForeignKey("users.id"), nullable=False),
        sa.Column("began_at_us", sa.BigInteger, nullable=False),
        sa.Column("totp_step", sa.BigInteger, nullable=False),
        sa.Column("revoked_at_us", sa.BigInteger),
    )
    op.create_index("sessions_user", "sessions", ["user_id"])
    op.create_table(
        "refresh_tokens",
        sa.Column("digest", sa.Text, primary_key=True),
        sa.Column("session_id", sa.Text, sa.ForeignKey("sessions.id"), nullable=False),
        sa.Column("traded_at_us", sa.BigInteger),
    )
    op.create_index("refresh_tokens_session", "refresh_tokens", ["session_id"])
    op.create_table(
        "signing_keys",
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("private_jwk", sa.Text, nullable=False),
        sa.Column("created_at_us", sa.BigInteger, nullable=False),
    )


def downgrade() -> None:
    for table in (
        "signing_keys",
        "refresh_tokens",
        "sessions",
        "sign_in_failures",
        "codes",
        "memberships",
        "companies",
        "users",
    ):
        op.drop_table(table)
