"""What is personal is sealed; devices, recovery codes, invitations; keys that follow another."""

from __future__ import annotations

from dataclasses import asdict, fields

import sqlalchemy as sa
from alembic import op

from mesh.settings import Settings
from services.users import domain, keys
from services.users.vault import Vault, VaultSettings

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

ROLES = "role IN ('owner', 'approver', 'operator', 'accountant', 'viewer')"


def upgrade() -> None:
    add_columns()
    create_devices()
    create_invitations()
    seal()


def add_columns() -> None:
    op.add_column("users", sa.Column("sealed_key", sa.Text, nullable=False, server_default=""))
    op.add_column("users", sa.Column("staff_since_us", sa.BigInteger))
    op.add_column("users", sa.Column("erased_at_us", sa.BigInteger))
    for name in ("device_key", "device"):
        op.add_column("sessions", sa.Column(name, sa.Text, nullable=False, server_default=""))
    seen = sa.Column("last_seen_us", sa.BigInteger, nullable=False, server_default="0")
    op.add_column("sessions", seen)
    signs = sa.Column("signs_from_us", sa.BigInteger, nullable=False, server_default="0")
    op.add_column("signing_keys", signs)


def create_devices() -> None:
    op.create_table(
        "devices",
        sa.Column("user_id", sa.Text, sa.ForeignKey("users.id"), primary_key=True),
        sa.Column("device_key", sa.Text, primary_key=True),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("first_seen_us", sa.BigInteger, nullable=False),
        sa.Column("last_seen_us", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "recovery_codes",
        sa.Column("user_id", sa.Text, sa.ForeignKey("users.id"), primary_key=True),
        sa.Column("digest", sa.Text, primary_key=True),
    )


def create_invitations() -> None:
    op.create_table(
        "invitations",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("company_id", sa.Text, sa.ForeignKey("companies.id"), nullable=False),
        sa.Column("email", sa.Text, nullable=False),
        sa.Column("email_key", sa.Text, nullable=False),
        sa.Column("role", sa.Text, nullable=False),
        sa.Column("code_digest", sa.Text, nullable=False),
        sa.Column("expires_at_us", sa.BigInteger, nullable=False),
        sa.CheckConstraint(ROLES, name="invitations_role"),
    )
    op.create_index("invitations_company", "invitations", ["company_id"])
    op.create_index("invitations_code", "invitations", ["code_digest"])


def seal() -> None:
    """Seals what earlier versions kept in plain text."""
    rows = op.get_bind().execute(sa.text("SELECT * FROM users")).mappings().all()
    signing = op.get_bind().execute(sa.text("SELECT * FROM signing_keys")).mappings().all()
    op.execute("DELETE FROM sign_in_failures")
    if not rows and not signing:
        return
    vault = Vault(VaultSettings().master_key(Settings(service="users")))
    known = {field.name for field in fields(domain.User)}
    for row in rows:
        plain = domain.User(**{name: row[name] for name in known & set(row)})
        sealed = vault.sealed(plain)
        secret = vault.totp_secret(sealed, plain.totp_secret) if plain.totp_secret else ""
        values = asdict(sealed) | {"totp_secret": secret}
        values["email_key"] = vault.index(domain.email_key(plain.email))
        op.get_bind().execute(
            sa.text(
                "UPDATE users SET email = :email, full_name = :full_name, cpf = :cpf,"
                " email_key = :email_key, totp_secret = :totp_secret, sealed_key = :sealed_key"
                " WHERE id = :id"
            ),
            values,
        )
    for row in signing:
        jwk = vault.seal(row["private_jwk"], keys.SEALED_KEY)
        update = sa.text("UPDATE signing_keys SET private_jwk = :jwk WHERE number = :number")
        op.get_bind().execute(update, {"jwk": jwk, "number": row["number"]})


def downgrade() -> None:
    """What was sealed stays so: an older version cannot read it."""
    for table in ("invitations", "recovery_codes", "devices"):
        op.drop_table(table)
    op.drop_column("signing_keys", "signs_from_us")
    for name in ("last_seen_us", "device", "device_key"):
        op.drop_column("sessions", name)
    for name in ("erased_at_us", "staff_since_us", "sealed_key"):
        op.drop_column("users", name)
