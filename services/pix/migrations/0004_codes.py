"""Codes to be paid, and the key with which charges are signed."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    qr_codes()
    signing_keys()


def qr_codes() -> None:
    op.create_table(
        "qr_codes",
        sa.Column("id", sa.String(36), primary_key=True),
        sa.Column("account_id", sa.String(36), nullable=False),
        sa.Column("kind", sa.String(7), nullable=False),
        sa.Column("status", sa.String(9), nullable=False),
        sa.Column("br_code", sa.String(512), nullable=False),
        sa.Column("pix_key", sa.String(77), nullable=False),
        sa.Column("merchant_name", sa.String(25), nullable=False),
        sa.Column("merchant_city", sa.String(15), nullable=False),
        sa.Column("txid", sa.String(35), nullable=False),
        sa.Column("minor_units", sa.BigInteger, nullable=False),
        sa.Column("currency", sa.String(3), nullable=False),
        sa.Column("description", sa.String(140), nullable=False),
        sa.Column("token", sa.String(36)),
        sa.Column("expires_at_us", sa.BigInteger, nullable=False),
        sa.Column("deposit_id", sa.String(36), nullable=False),
        sa.Column("end_to_end_id", sa.String(32), nullable=False),
        sa.Column("requested_by", sa.String(36), nullable=False),
        sa.Column("request_id", sa.String(255), nullable=False),
        sa.Column("created_at_us", sa.BigInteger, nullable=False),
        sa.CheckConstraint("minor_units >= 0", name="qr_codes_amount"),
        sa.UniqueConstraint("requested_by", "request_id", name="qr_codes_request"),
        sa.UniqueConstraint("token", name="qr_codes_token"),
    )
    op.create_index("qr_codes_account", "qr_codes", ["account_id", "id"])
    unique_where("qr_codes_txid", "qr_codes", "txid <> ''", "account_id", "txid")


def signing_keys() -> None:
    op.create_table(
        "signing_keys",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("kid", sa.String(36), nullable=False),
        sa.Column("pem", sa.String(2000), nullable=False),
    )


def unique_where(name: str, table: str, condition: str, *columns: str) -> None:
    where = sa.text(condition)
    op.create_index(name, table, columns, unique=True, sqlite_where=where, postgresql_where=where)
