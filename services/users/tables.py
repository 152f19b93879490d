"""The tables of the service."""

from __future__ import annotations

from typing import ClassVar

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Index,
    Integer,
    MetaData,
    Text,
    UniqueConstraint,
)
from sqlmodel import Field, SQLModel

ROLES = "role IN ('owner', 'approver', 'operator', 'accountant', 'viewer')"


class Table(SQLModel):
    """The base of this service's tables."""

    metadata: ClassVar[MetaData] = MetaData()


class UserRow(Table, table=True):
    """A person, sealed (`vault`). `version` counts the events about them."""

    __tablename__ = "users"
    __table_args__ = (
        UniqueConstraint("email_key", name="users_email"),
        CheckConstraint("status IN ('pending', 'confirmed', 'disabled')", name="users_status"),
    )

    id: str = Field(primary_key=True, sa_type=Text)
    email: str = Field(sa_type=Text)
    email_key: str = Field(sa_type=Text)
    full_name: str = Field(sa_type=Text)
    cpf: str = Field(sa_type=Text)
    password_hash: str = Field(sa_type=Text)
    status: str = Field(sa_type=Text)
    version: int = Field(sa_type=BigInteger)
    created_at_us: int = Field(sa_type=BigInteger)
    totp_secret: str = Field(sa_type=Text)
    totp_enabled_at_us: int | None = Field(default=None, sa_type=BigInteger)
    totp_last_step: int = Field(sa_type=BigInteger)
    sealed_key: str = Field(default="", sa_type=Text, sa_column_kwargs={"server_default": ""})
    staff_since_us: int | None = Field(default=None, sa_type=BigInteger)
    erased_at_us: int | None = Field(default=None, sa_type=BigInteger)


class CodeRow(Table, table=True):
    """The latest code for a purpose, as a hash; empty when used. `asked` are those of an hour."""

    __tablename__ = "codes"
    __table_args__ = (CheckConstraint("tries_left >= 0", name="codes_tries"),)

    user_id: str = Field(primary_key=True, sa_type=Text, foreign_key="users.id")
    purpose: str = Field(primary_key=True, sa_type=Text)
    code_hash: str = Field(sa_type=Text)
    expires_at_us: int = Field(sa_type=BigInteger)
    tries_left: int = Field(sa_type=Integer)
    asked: int = Field(sa_type=Integer)
    asked_since_us: int = Field(sa_type=BigInteger)


class FailureRow(Table, table=True):
    """Failed sign-ins in a row; of unknown addresses too, so that both are answered alike."""

    __tablename__ = "sign_in_failures"
    __table_args__ = (Index("sign_in_failures_last", "last_us"),)

    email_key: str = Field(primary_key=True, sa_type=Text)
    count: int = Field(sa_type=Integer)
    last_us: int = Field(sa_type=BigInteger)


class CompanyRow(Table, table=True):
    """A company; nobody acts for it before it is opened. `version` counts the events about it."""

    __tablename__ = "companies"
    __table_args__ = (Index("companies_owner", "owner_id"),)

    id: str = Field(primary_key=True, sa_type=Text)
    owner_id: str = Field(sa_type=Text, foreign_key="users.id")
    legal_name: str = Field(sa_type=Text)
    cnpj: str = Field(sa_type=Text)
    version: int = Field(sa_type=BigInteger)
    opened_at_us: int | None = Field(default=None, sa_type=BigInteger)


class MembershipRow(Table, table=True):
    __tablename__ = "memberships"
    __table_args__ = (CheckConstraint(ROLES, name="memberships_role"),)

    user_id: str = Field(primary_key=True, sa_type=Text, foreign_key="users.id")
    company_id: str = Field(primary_key=True, sa_type=Text, foreign_key="companies.id")
    role: str = Field(sa_type=Text)


class InvitationRow(Table, table=True):
    """An invitation that waits. Address and code are sealed and hashed; an answer removes it."""

    __tablename__ = "invitations"
    __table_args__ = (
        CheckConstraint(ROLES, name="invitations_role"),
        Index("invitations_company", "company_id"),
        Index("invitations_code", "code_digest"),
    )

    id: str = Field(primary_key=True, sa_type=Text)
    company_id: str = Field(sa_type=Text, foreign_key="companies.id")
    email: str = Field(sa_type=Text)
    email_key: str = Field(sa_type=Text)
    role: str = Field(sa_type=Text)
    code_digest: str = Field(sa_type=Text)
    expires_at_us: int = Field(sa_type=BigInteger)


class SessionRow(Table, table=True):
    """A session: the family of all refresh tokens that came from one sign-in."""

    __tablename__ = "sessions"
    __table_args__ = (Index("sessions_user", "user_id"),)

    id: str = Field(primary_key=True, sa_type=Text)
    user_id: str = Field(sa_type=Text, foreign_key="users.id")
    began_at_us: int = Field(sa_type=BigInteger)
    totp_step: int = Field(sa_type=BigInteger)
    second_factor_at_us: int = Field(
        default=0, sa_type=BigInteger, sa_column_kwargs={"server_default": "0"}
    )
    device_key: str = Field(default="", sa_type=Text, sa_column_kwargs={"server_default": ""})
    device: str = Field(default="", sa_type=Text, sa_column_kwargs={"server_default": ""})
    last_seen_us: int = Field(
        default=0, sa_type=BigInteger, sa_column_kwargs={"server_default": "0"}
    )
    revoked_at_us: int | None = Field(default=None, sa_type=BigInteger)


class RefreshTokenRow(Table, table=True):
    """A refresh token, as a digest. One that was traded is kept, to be known if it comes again."""

    __tablename__ = "refresh_tokens"
    __table_args__ = (Index("refresh_tokens_session", "session_id"),)

    digest: str = Field(primary_key=True, sa_type=Text)
    session_id: str = Field(sa_type=Text, foreign_key="sessions.id")
    traded_at_us: int | None = Field(default=None, sa_type=BigInteger)


class RecoveryCodeRow(Table, table=True):
    """A code that stands in for the authenticator app, as a keyed digest."""

    __tablename__ = "recovery_codes"

    user_id: str = Field(primary_key=True, sa_type=Text, foreign_key="users.id")
    digest: str = Field(primary_key=True, sa_type=Text)


class DeviceRow(Table, table=True):
    """A device that a user has signed in from. Its key is a digest, its name is sealed."""

    __tablename__ = "devices"

    user_id: str = Field(primary_key=True, sa_type=Text, foreign_key="users.id")
    device_key: str = Field(primary_key=True, sa_type=Text)
    name: str = Field(sa_type=Text)
    first_seen_us: int = Field(sa_type=BigInteger)
    last_seen_us: int = Field(sa_type=BigInteger)


class ApiKeyRow(Table, table=True):
    """A key of a company, as a digest. What was used is counted by day and month, since 1970."""

    __tablename__ = "api_keys"
    __table_args__ = (
        UniqueConstraint("digest", name="api_keys_digest"),
        Index("api_keys_company", "company_id"),
    )

    id: str = Field(primary_key=True, sa_type=Text)
    company_id: str = Field(sa_type=Text, foreign_key="companies.id")
    name: str = Field(sa_type=Text)
    digest: str = Field(sa_type=Text)
    prefix: str = Field(sa_type=Text)
    scopes: str = Field(sa_type=Text)
    per_second: int = Field(sa_type=Integer)
    burst: int = Field(sa_type=Integer)
    daily_quota: int = Field(sa_type=BigInteger)
    monthly_quota: int = Field(sa_type=BigInteger)
    created_by: str = Field(sa_type=Text)
    created_at_us: int = Field(sa_type=BigInteger)
    last_used_us: int | None = Field(default=None, sa_type=BigInteger)
    revoked_at_us: int | None = Field(default=None, sa_type=BigInteger)
    day: int = Field(sa_type=Integer)
    used_today: int = Field(sa_type=BigInteger)
    month: int = Field(sa_type=Integer)
    used_this_month: int = Field(sa_type=BigInteger)


class SigningKeyRow(Table, table=True):
    """A private key as a JSON Web Key, sealed. The number keeps two processes from adding one."""

    __tablename__ = "signing_keys"

    number: int = Field(
        primary_key=True, sa_type=Integer, sa_column_kwargs={"autoincrement": False}
    )
    private_jwk: str = Field(sa_type=Text)
    created_at_us: int = Field(sa_type=BigInteger)
    signs_from_us: int = Field(
        default=0, sa_type=BigInteger, sa_column_kwargs={"server_default": "0"}
    )
