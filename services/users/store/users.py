"""Where people and what proves them are kept, and told of: a change and its event are one."""

from __future__ import annotations

from google.protobuf.message import Message

from bank.users.v1 import events_pb2 as events
from bank.users.v1.users_pb2 import CodePurpose
from mesh.db import Row, UnitOfWork, sql
from mesh.errors import AlreadyExists, NotFound

from .. import domain
from ..domain import Company, Failures, IssuedCode, Purpose, Status, User
from . import companies

ADD_USER = sql(
    "INSERT INTO users (id, email, email_key, full_name, cpf, password_hash, status, version,"
    " created_at_us, totp_secret, totp_last_step, sealed_key, staff_since_us) VALUES (:id, :email,"
    " :email_key, :full_name, :cpf, :password_hash, :status, 0, :now, '', 0, :sealed_key, :staff)"
    " ON CONFLICT (email_key) DO NOTHING"
)
USER = sql(
    "INSERT INTO users (id, email, email_key, full_name, cpf, password_hash, status, version,"
    " created_at_us, totp_secret, totp_last_step, sealed_key, staff_since_us) VALUES (:id, :email,"
    " :email_key, :full_name, :cpf, :password_hash, :status, 0, :now, '', 0, :sealed_key, :staff)"
    " ON CONFLICT (email_key) DO NOTHING"
)
ADD_COMPANY = sql(
    "INSERT INTO companies (id, owner_id, legal_name, cnpj, version)"
    " VALUES (:id, :owner, :legal_name, :cnpj, 0)"
)
USER = sql("SELECT * FROM users WHERE id = :id")
USER_OF_EMAIL = sql("SELECT * FROM users WHERE email_key = :email_key")
NEXT_USER_VERSION = sql("UPDATE users SET version = version + 1 WHERE id = :id RETURNING version")
CONFIRM = sql("UPDATE users SET status = 'confirmed' WHERE id = :id AND status = 'pending'")
SET_STATUS = sql(
    "UPDATE users SET status = :status"
    " WHERE id = :id AND status = :from_status AND erased_at_us IS NULL"
)
SET_PASSWORD = sql("UPDATE users SET password_hash = :password_hash WHERE id = :id")
RENEW_HASH = sql(
    "UPDATE users SET password_hash = :renewed WHERE id = :id AND password_hash = :known"
)

# One statement counts and refuses: of the codes asked for in an hour, only the first few are told.
ASK_FOR_CODE = sql(
    "INSERT INTO codes"
    " (user_id, purpose, code_hash, expires_at_us, tries_left, asked, asked_since_us)"
    " VALUES (:user, :purpose, '', 0, 0, 1, :now) ON CONFLICT (user_id, purpose) DO UPDATE SET"
    " asked = CASE WHEN codes.asked_since_us <= :hour_ago THEN 1 ELSE codes.asked + 1 END,"
    " asked_since_us = CASE WHEN codes.asked_since_us <= :hour_ago THEN :now"
    " ELSE codes.asked_since_us END"
    " WHERE codes.asked < :limit OR codes.asked_since_us <= :hour_ago"
)
KEEP_CODE = sql(
    "INSERT INTO codes"
    " (user_id, purpose, code_hash, expires_at_us, tries_left, asked, asked_since_us)"
    " VALUES (:user, :purpose, :code_hash, :expires_at, :tries, 0, 0)"
    " ON CONFLICT (user_id, purpose) DO UPDATE SET code_hash = excluded.code_hash,"
    " expires_at_us = excluded.expires_at_us, tries_left = excluded.tries_left"
)
TAKE_TRY = sql(
    "UPDATE codes SET tries_left = tries_left - 1 WHERE purpose = :purpose AND code_hash <> ''"
    " AND tries_left > 0 AND expires_at_us > :now"
    " AND user_id = (SELECT id FROM users WHERE email_key = :email_key)"
    " RETURNING user_id, code_hash"
)
USE_CODE = sql(
    "UPDATE codes SET code_hash = '' WHERE user_id = :user AND purpose = :purpose"
    " AND code_hash = :code_hash"
)

FAILURES = sql("SELECT count, last_us FROM sign_in_failures WHERE email_key = :email_key")
ADD_FAILURE = sql(
    "INSERT INTO sign_in_failures (email_key, count, last_us) VALUES (:email_key, 1, :now)"
    " ON CONFLICT (email_key) DO UPDATE SET count = sign_in_failures.count + 1,"
    " last_us = excluded.last_us"
)
FORGET_FAILURES = sql(
    "DELETE FROM sign_in_failures WHERE email_key = (SELECT email_key FROM users WHERE id = :id)"
)
FORGET_OLD_FAILURES = sql("DELETE FROM sign_in_failures WHERE last_us < :day_ago")

KEEP_TOTP_SECRET = sql(
    "UPDATE users SET totp_secret = :secret WHERE id = :id AND totp_enabled_at_us IS NULL"
)
ENABLE_TOTP = sql(
    "UPDATE users SET totp_enabled_at_us = :now, totp_last_step = :step"
    " WHERE id = :id AND totp_secret = :secret AND totp_enabled_at_us IS NULL"
)
REMOVE_TOTP = sql("UPDATE users SET totp_secret = '', totp_enabled_at_us = NULL WHERE id = :id")
SPEND_STEP = sql(
    "UPDATE users SET totp_last_step = :step WHERE id = :id AND totp_last_step < :step"
)


async def sign_up(work: UnitOfWork, user: User, company: Company | None, now_us: int) -> None:
    """Keeps a new user. Who signs up with a known address is sent a code to it, and not told."""
    if not await add_user(work, user, now_us):
        for purpose in Purpose:
            await request_code(work, user.email_key, purpose, now_us)
        return
    if company is not None:
        await companies.add(work, company, user.id)
    await tell_of_user(work, user.id, events.UserRegistered(user_id=user.id))


async def add_staff(work: UnitOfWork, user: User, now_us: int) -> None:
    """Keeps a new member of the staff, who sets a password with the code that is sent."""
    if not await add_user(work, user, now_us):
        raise AlreadyExists("EMAIL_TAKEN", "There is a user with this e-mail address.")
    await request_code(work, user.email_key, Purpose.PASSWORD_RESET, now_us)


async def add_user(work: UnitOfWork, user: User, now_us: int) -> bool:
    """Keeps a user, who is sealed. Says whether the address was new."""
    added = await work.execute(
        ADD_USER,
        id=user.id,
        email=user.email,
        email_key=user.email_key,
        full_name=user.full_name,
        cpf=user.cpf,
        password_hash=user.password_hash,
        status=user.status.value,
        sealed_key=user.sealed_key,
        staff=now_us if user.is_staff else None,
        now=now_us,
    )
    return bool(added)


async def tell_of_user(work: UnitOfWork, user_id: str, event: Message) -> None:
    """Publishes an event with the user's next version."""
    row = await work.fetch_one(NEXT_USER_VERSION, id=user_id)
    assert row is not None, "a user is never removed"
    work.publish(event, version=row["version"])


async def request_code(work: UnitOfWork, email_key: str, purpose: Purpose, now_us: int) -> None:
    """Has a code sent, if it would be good for anything and not too many were. Does not say."""
    user = await find_user(work, email_key)
    if user is None or not user.needs(purpose):
        return
    allowed = await work.execute(
        ASK_FOR_CODE,
        user=user.id,
        purpose=purpose.value,
        now=now_us,
        hour_ago=now_us - domain.HOUR_US,
        limit=domain.CODES_AN_HOUR,
    )
    if allowed:
        event = events.CodeRequested(
            user_id=user.id, purpose=CodePurpose.Value(f"CODE_PURPOSE_{purpose.name}")
        )
        await tell_of_user(work, user.id, event)


async def keep_code(work: UnitOfWork, code: IssuedCode, now_us: int) -> None:
    """Keeps a code, in place of any earlier one for the same purpose."""
    await work.execute(
        KEEP_CODE,
        user=code.user_id,
        purpose=code.purpose.value,
        code_hash=code.hash,
        expires_at=now_us + domain.CODE_LIFE_US,
        tries=domain.CODE_TRIES,
    )


async def take_try(
    work: UnitOfWork, email_key: str, purpose: Purpose, now_us: int
) -> IssuedCode | None:
    """Gives the code to compare with, if a try is left. The try is spent before it is made."""
    row = await work.fetch_one(TAKE_TRY, email_key=email_key, purpose=purpose.value, now=now_us)
    return IssuedCode(row["user_id"], purpose, row["code_hash"]) if row else None


async def use_code(work: UnitOfWork, code: IssuedCode) -> None:
    """Uses a code up. Raises `InvalidArgument` when somebody was faster."""
    if not await work.execute(
        USE_CODE, user=code.user_id, purpose=code.purpose.value, code_hash=code.hash
    ):
        raise domain.invalid_code()


async def confirm(work: UnitOfWork, code: IssuedCode, now_us: int) -> User:
    """Lets a user sign in, and opens their company."""
    await use_code(work, code)
    user_id = code.user_id
    if await work.execute(CONFIRM, id=user_id):
        await tell_of_user(work, user_id, events.UserConfirmed(user_id=user_id))
    await companies.open_all(work, user_id, now_us)
    return await get_user(work, user_id)


async def set_status(work: UnitOfWork, user_id: str, status: Status, before: Status) -> bool:
    """Says whether the user had the status that comes before."""
    await get_user(work, user_id)
    changed = await work.execute(
        SET_STATUS, id=user_id, status=status.value, from_status=before.value
    )
    return bool(changed)


async def set_password(work: UnitOfWork, user_id: str, password_hash: str) -> None:
    await work.execute(SET_PASSWORD, id=user_id, password_hash=password_hash)


async def renew_hash(work: UnitOfWork, user: User, password_hash: str) -> None:
    """Replaces the hash that was just compared with, unless the password was changed meanwhile."""
    await work.execute(RENEW_HASH, id=user.id, known=user.password_hash, renewed=password_hash)


async def find_user(work: UnitOfWork, email_key: str) -> User | None:
    row = await work.fetch_one(USER_OF_EMAIL, email_key=email_key)
    return to_user(row) if row else None


async def get_user(work: UnitOfWork, user_id: str) -> User:
    row = await work.fetch_one(USER, id=user_id)
    if row is None:
        raise NotFound("USER_NOT_FOUND", "There is no such user.")
    return to_user(row)


async def find_login(work: UnitOfWork, email_key: str) -> tuple[User | None, Failures]:
    row = await work.fetch_one(FAILURES, email_key=email_key)
    failures = Failures(row["count"], row["last_us"]) if row else Failures()
    return await find_user(work, email_key), failures


async def note_failure(work: UnitOfWork, email_key: str, now_us: int) -> None:
    await work.execute(FORGET_OLD_FAILURES, day_ago=now_us - domain.DAY_US)
    await work.execute(ADD_FAILURE, email_key=email_key, now=now_us)
    work.outcome = "refused"


async def end_failures(work: UnitOfWork, user_id: str, totp_step: int = 0) -> None:
    """Counts failures from zero again. A step of the authenticator app is good for one sign-in."""
    if totp_step and not await work.execute(SPEND_STEP, id=user_id, step=totp_step):
        raise domain.invalid_totp()
    await work.execute(FORGET_FAILURES, id=user_id)


async def keep_totp_secret(work: UnitOfWork, user_id: str, secret: str) -> None:
    """Begins an enrolment, in place of any that was not confirmed."""
    if not await work.execute(KEEP_TOTP_SECRET, id=user_id, secret=secret):
        raise domain.totp_enabled()


async def enable_totp(work: UnitOfWork, user: User, step: int, now_us: int) -> None:
    if not await work.execute(
        ENABLE_TOTP, id=user.id, secret=user.totp_secret, step=step, now=now_us
    ):
        raise domain.totp_enabled()


def to_user(row: Row) -> User:
    return User(
        id=row["id"],
        email=row["email"],
        full_name=row["full_name"],
        cpf=row["cpf"],
        password_hash=row["password_hash"],
        email_key=row["email_key"],
        sealed_key=row["sealed_key"],
        is_staff=row["staff_since_us"] is not None,
        created_at_us=row["created_at_us"],
        status=Status(row["status"]),
        totp_secret=row["totp_secret"],
        totp_is_enabled=row["totp_enabled_at_us"] is not None,
        totp_last_step=row["totp_last_step"],
    )
