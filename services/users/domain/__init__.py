"""Who may sign up, sign in, and with what. No gRPC, no NATS, no SQL."""

from __future__ import annotations

import hmac
import unicodedata
from dataclasses import dataclass, field, replace
from enum import StrEnum

import pyotp
from stdnum.br import cnpj as cnpj_number
from stdnum.br import cpf as cpf_number

from mesh.errors import (
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    Overloaded,
    PermissionDenied,
    Unauthenticated,
    Violation,
)
from mesh.ids import new_id

SECOND_US = 1_000_000
MINUTE_US = 60 * SECOND_US
HOUR_US = 60 * MINUTE_US
DAY_US = 24 * HOUR_US

# A code is six digits: few guesses, a short life and few codes an hour keep it from being guessed
# (NIST SP 800-63B-4, 3.1.3).
CODE_LIFE_US = 15 * MINUTE_US
CODE_TRIES = 5
CODES_AN_HOUR = 5

# Whoever was invited has a week to answer.
INVITATION_LIFE_US = 7 * DAY_US
MOST_INVITATIONS = 50

# So many sessions at once; the oldest ends when another begins.
MOST_SESSIONS = 100

RECOVERY_CODES = 10
# Codes of the app have six digits; what is longer is a recovery code.
LONGEST_TOTP = 8

# The name of who was erased.
PSEUDONYM = "Ex-cliente"

# After a day the user signs in again (NIST SP 800-63B-4, AAL2).
SESSION_LIFE_US = DAY_US

# Wrong passwords in a row that cost nothing; from then on the wait doubles with each.
FREE_TRIES = 5
LONGEST_WAIT_US = 15 * MINUTE_US


class Status(StrEnum):
    PENDING = "pending"
    CONFIRMED = "confirmed"
    DISABLED = "disabled"


class Purpose(StrEnum):
    """What a code is good for."""

    CONFIRMATION = "confirmation"
    PASSWORD_RESET = "password_reset"  # noqa: S105 - not a password


class Role(StrEnum):
    OWNER = "owner"
    APPROVER = "approver"
    OPERATOR = "operator"
    ACCOUNTANT = "accountant"
    VIEWER = "viewer"


def email_key(email: str) -> str:
    """Folds an address to the form in which it is unique."""
    return unicodedata.normalize("NFKC", email.strip()).lower()


def totp_step(secret: str, code: str, now_us: int) -> int:
    """Finds the time step a code is of (RFC 6238): this one, the last or the next; 0 if none."""
    now_s, totp = now_us // SECOND_US, pyotp.TOTP(secret)
    for moment_s in (now_s, now_s - totp.interval, now_s + totp.interval):
        if hmac.compare_digest(totp.at(moment_s).encode(), code.encode()):
            return moment_s // totp.interval
    return 0


def totp_uri(secret: str, email: str) -> str:
    """Writes a secret as an authenticator app scans it."""
    return pyotp.TOTP(secret).provisioning_uri(name=email, issuer_name="Bank")


def new_totp_secret() -> str:
    return pyotp.random_base32()


def cpf(text: str) -> str:
    if not cpf_number.is_valid(text):
        raise InvalidArgument(
            "INVALID_CPF", "This is not a CPF.", Violation("cpf", "must be a CPF")
        )
    return cpf_number.compact(text)


def cnpj(text: str) -> str:
    if not cnpj_number.is_valid(text):
        raise InvalidArgument(
            "INVALID_CNPJ", "This is not a CNPJ.", Violation("company.cnpj", "must be a CNPJ")
        )
    return cnpj_number.compact(text)


@dataclass(frozen=True, kw_only=True)
class Company:
    id: str = field(default_factory=new_id)
    legal_name: str
    cnpj: str = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class Invitation:
    """Somebody is asked to act for a company. The address is sealed; `email_key` finds it."""

    id: str = field(default_factory=new_id)
    company_id: str
    email: str = field(repr=False)
    email_key: str = field(repr=False)
    role: Role
    expires_at_us: int


@dataclass(frozen=True)
class Device:
    """A device that somebody has signed in from; its name is sealed."""

    name: str = field(repr=False)
    first_seen_us: int
    last_seen_us: int


@dataclass(frozen=True, kw_only=True)
class User:
    """A person who may sign in.

    As kept, what is personal is sealed (`vault`), under the key in `sealed_key`; that is empty once
    the person was erased. `email_key` is what the address is found by.

    An authenticator app counts once it is enabled; `totp_last_step` is the last time step that it
    proved, for a code is good for one sign-in.
    """

    id: str = field(default_factory=new_id)
    email: str = field(repr=False)
    full_name: str = field(repr=False)
    cpf: str = field(repr=False)
    password_hash: str = field(repr=False)
    email_key: str = field(default="", repr=False)
    sealed_key: str = field(default="", repr=False)
    status: Status = Status.PENDING
    is_staff: bool = False
    created_at_us: int = 0
    totp_secret: str = field(default="", repr=False)
    totp_is_enabled: bool = False
    totp_last_step: int = 0

    def must_be_able_to_sign_in(self) -> None:
        """To be asked after the password only: without it, nobody learns anything of the user."""
        if self.status is Status.PENDING:
            raise PermissionDenied("USER_NOT_CONFIRMED", "The e-mail address is not confirmed yet.")
        if self.status is Status.DISABLED:
            raise PermissionDenied("USER_DISABLED", "The user may not sign in.")

    def second_factor(self, code: str, now_us: int) -> int:
        """Gives the time step that a code of the authenticator app proves; 0 if there is no app."""
        if not self.totp_is_enabled or len(code) > LONGEST_TOTP:
            return 0
        if not code:
            raise Unauthenticated("TOTP_REQUIRED", "A code of the authenticator app is needed.")
        step = totp_step(self.totp_secret, code, now_us)
        if step <= self.totp_last_step:
            raise invalid_totp()
        return step

    def enrolment_step(self, code: str, now_us: int) -> int:
        """Gives the time step that a code proves of an app that is being enrolled."""
        step = totp_step(self.totp_secret, code, now_us) if self.totp_secret else 0
        if not step:
            raise invalid_code()
        return step

    def needs(self, purpose: Purpose) -> bool:
        needed = Status.PENDING if purpose is Purpose.CONFIRMATION else Status.CONFIRMED
        return self.status is needed

    def must_need(self, purpose: Purpose) -> None:
        if not self.needs(purpose):
            raise FailedPrecondition("CODE_NOT_NEEDED", "The code would be good for nothing.")


@dataclass(frozen=True)
class IssuedCode:
    """A code that was issued, as it is kept."""

    user_id: str
    purpose: Purpose
    hash: str = field(repr=False)


@dataclass(frozen=True)
class Failures:
    """The failed sign-ins in a row for one address, known or not, and when the last one was."""

    count: int = 0
    last_us: int = 0

    def must_be_over(self, now_us: int) -> None:
        """Refuses to look at another password before the wait is over."""
        left_us = self.last_us + self.wait_us() - now_us
        if left_us > 0:
            raise Overloaded(
                "TOO_MANY_TRIES",
                "There were too many failed sign-ins; wait before the next.",
                retry_after_s=left_us / SECOND_US,
            )

    def wait_us(self) -> int:
        if self.count < FREE_TRIES:
            return 0
        return min(SECOND_US << min(self.count - FREE_TRIES, 20), LONGEST_WAIT_US)


@dataclass(frozen=True, kw_only=True)
class Session:
    """A sign-in, and all that follows from it.

    `totp_step` is the time step that an authenticator app has proven; 0 if none was needed.
    `second_factor_at_us` is when one was proven last; 0 if never. `recovery` is the code that stood
    in for the app. `device_key` is what the device is known by, `device` its name, sealed.
    """

    id: str = field(default_factory=new_id)
    user_id: str
    began_at_us: int
    totp_step: int = 0
    second_factor_at_us: int = 0
    recovery: str = field(default="", repr=False)
    device_key: str = field(default="", repr=False)
    device: str = field(default="", repr=False)
    last_seen_us: int = 0
    is_staff: bool = False
    is_revoked: bool = False

    @property
    def authenticated_at_us(self) -> int:
        """When the user has proven last who they are (RFC 9470, 5: `auth_time`)."""
        return max(self.began_at_us, self.second_factor_at_us)

    def methods(self) -> list[str]:
        """The ways the user has proven who they are, in the words of RFC 8176."""
        return ["pwd", "otp", "mfa"] if self.second_factor_at_us else ["pwd"]

    def scopes(self) -> list[str]:
        """What the session may do beyond its user: staff is staff with a second factor only."""
        return ["staff"] if self.is_staff and self.second_factor_at_us else []

    def is_live(self, now_us: int) -> bool:
        return not self.is_revoked and now_us < self.began_at_us + SESSION_LIFE_US


def sign_in(user: User | None, password_matches: bool, totp: str, now_us: int) -> Session:
    """Begins a session, or raises what it lacks."""
    if user is None or not password_matches:
        raise invalid_credentials()
    user.must_be_able_to_sign_in()
    step = user.second_factor(totp, now_us)
    recovery = totp if user.totp_is_enabled and not step else ""
    return Session(
        user_id=user.id,
        began_at_us=now_us,
        last_seen_us=now_us,
        totp_step=step,
        second_factor_at_us=now_us if user.totp_is_enabled else 0,
        recovery=recovery,
        is_staff=user.is_staff,
    )


def step_up(user: User, session: Session, totp: str, now_us: int) -> Session:
    """Gives a session as it is once the app's code has proven a second factor again."""
    if not user.totp_is_enabled:
        raise FailedPrecondition("TOTP_NOT_ENABLED", "No authenticator app is enrolled.")
    step = user.second_factor(totp, now_us)
    recovery = "" if step else totp
    return replace(session, totp_step=step, second_factor_at_us=now_us, recovery=recovery)


def new_recovery_codes() -> list[str]:
    """Makes codes that stand in for the app: ten letters and digits each, 50 bits."""
    return [pyotp.random_base32(32)[:10].lower() for _ in range(RECOVERY_CODES)]


def recovery_code(text: str) -> str:
    """Gives a recovery code as it was made, however it was typed."""
    return text.replace("-", "").replace(" ", "").lower()


def invalid_credentials() -> Unauthenticated:
    """One answer for an unknown address and for a wrong password."""
    return Unauthenticated("INVALID_CREDENTIALS", "The e-mail address or the password is wrong.")


def invalid_refresh_token() -> Unauthenticated:
    return Unauthenticated("INVALID_REFRESH_TOKEN", "The session has ended; sign in again.")


def wrong_password() -> PermissionDenied:
    return PermissionDenied("WRONG_PASSWORD", "The password is wrong.")


def sign_in_again() -> PermissionDenied:
    return PermissionDenied("SIGN_IN_AGAIN", "This needs a sign-in just now.")


def owners_only() -> PermissionDenied:
    return PermissionDenied("ROLE_NOT_ALLOWED", "Only an owner may do this.")


def no_user() -> NotFound:
    return NotFound("USER_NOT_FOUND", "There is no such user.")


def session_ended() -> Unauthenticated:
    return Unauthenticated("SESSION_ENDED", "The session has ended; sign in again.")


def invalid_code() -> InvalidArgument:
    """One answer for an unknown address and for a code that is wrong, used or too old."""
    rule = "must be the latest code, in time"
    return InvalidArgument("INVALID_CODE", "The code is not valid.", Violation("code", rule))


def no_company() -> NotFound:
    """One answer for a company that is not, and for one that is another's."""
    return NotFound("COMPANY_NOT_FOUND", "There is no such company.")


def no_invitation() -> NotFound:
    return NotFound("INVITATION_NOT_FOUND", "There is no such invitation, or it is too old.")


def last_owner() -> FailedPrecondition:
    return FailedPrecondition("LAST_OWNER", "A company that others act for keeps an owner.")


def too_many_invitations() -> FailedPrecondition:
    return FailedPrecondition("TOO_MANY_INVITATIONS", "Too many invitations wait for an answer.")


def invalid_totp() -> Unauthenticated:
    return Unauthenticated("INVALID_TOTP", "The code of the authenticator app is wrong.")


def totp_enabled() -> FailedPrecondition:
    return FailedPrecondition("TOTP_ALREADY_ENABLED", "An authenticator app is enrolled already.")
