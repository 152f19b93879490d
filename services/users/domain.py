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

# After a day the user signs in again (NIST SP 800-63B-4, AAL2).
SESSION_LIFE_US = DAY_US

# Wrong passwords in a row that cost nothing; from then on the wait doubles with each.
FREE_TRIES = 5
LONGEST_WAIT_US = 15 * MINUTE_US

# What is tried first by those who guess; shorter ones are refused by their length.
_COMMON = """
12345678 123456789 1234567890 12345678910 87654321 987654321 0123456789 123123123 123456123
11223344 112233445566 147258369 123654789 password password1 password12 password123 passw0rd
p@ssw0rd p@ssword qwertyui qwertyuiop qwerty123 qwerty1234 1q2w3e4r 1q2w3e4r5t 1qaz2wsx
zaq12wsx asdfghjk asdfghjkl zxcvbnm1 abcd1234 abc12345 abcdefgh a1b2c3d4 iloveyou ilovethis
sunshine princess football baseball superman starwars welcome1 welcome123 letmein1 trustno1
whatever computer internet michelle changeme changeme123 administrator admin123 admin1234
senha123 senha1234 senha12345 minhasenha mudar123 mudar1234 brasil123 brasil2014 flamengo
corinthians palmeiras saopaulo santos123 cruzeiro gremio123 internacional fluminense
vascodagama jesuscristo jesus123 deusefiel deusnocomando teamo123 amoreterno familia123
felicidade esperanca gabriel123 eduardo123 brasileiro empresa123 financeiro bancobanco
"""
COMMON_PASSWORDS = frozenset(_COMMON.split())


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


def password(text: str, name: str, email: str) -> str:
    """Checks a new password, sent as the field `name`, and gives it in its normal form.

    Length and a blocklist are all that is asked: no composition rules (NIST SP 800-63B-4, 3.1.1.2).
    """
    chosen = normal(text)
    folded = chosen.casefold()
    key = email_key(email)
    if not 8 <= len(chosen) <= 128:
        raise _weak(name, "must have 8 to 128 characters")
    if folded in COMMON_PASSWORDS or len(set(folded)) < 4:
        raise _weak(name, "must not be one that many people use")
    if folded in (key, key.partition("@")[0]):
        raise _weak(name, "must not be the e-mail address")
    return chosen


def normal(text: str) -> str:
    """Gives one form to what keyboards write in several (NFKC)."""
    return unicodedata.normalize("NFKC", text)


def _weak(name: str, rule: str) -> InvalidArgument:
    return InvalidArgument("WEAK_PASSWORD", f"The password {rule}.", Violation(name, rule))


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
class User:
    """A person who may sign in.

    An authenticator app counts once it is enabled; `totp_last_step` is the last time step that it
    proved, for a code is good for one sign-in.
    """

    id: str = field(default_factory=new_id)
    email: str = field(repr=False)
    full_name: str = field(repr=False)
    cpf: str = field(repr=False)
    password_hash: str = field(repr=False)
    status: Status = Status.PENDING
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
        if not self.totp_is_enabled:
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
    `second_factor_at_us` is when one was proven last; 0 if never.
    """

    id: str = field(default_factory=new_id)
    user_id: str
    began_at_us: int
    totp_step: int = 0
    second_factor_at_us: int = 0
    is_revoked: bool = False

    @property
    def authenticated_at_us(self) -> int:
        """When the user has proven last who they are (RFC 9470, 5: `auth_time`)."""
        return max(self.began_at_us, self.second_factor_at_us)

    def methods(self) -> list[str]:
        """The ways the user has proven who they are, in the words of RFC 8176."""
        return ["pwd", "otp", "mfa"] if self.second_factor_at_us else ["pwd"]

    def is_live(self, now_us: int) -> bool:
        return not self.is_revoked and now_us < self.began_at_us + SESSION_LIFE_US


def sign_in(user: User | None, password_matches: bool, totp: str, now_us: int) -> Session:
    """Begins a session, or raises what it lacks."""
    if user is None or not password_matches:
        raise invalid_credentials()
    user.must_be_able_to_sign_in()
    step = user.second_factor(totp, now_us)
    return Session(
        user_id=user.id,
        began_at_us=now_us,
        totp_step=step,
        second_factor_at_us=now_us if step else 0,
    )


def step_up(user: User, session: Session, totp: str, now_us: int) -> Session:
    """Gives a session as it is once the app's code has proven a second factor again."""
    if not user.totp_is_enabled:
        raise FailedPrecondition("TOTP_NOT_ENABLED", "No authenticator app is enrolled.")
    step = user.second_factor(totp, now_us)
    return replace(session, totp_step=step, second_factor_at_us=now_us)


def invalid_credentials() -> Unauthenticated:
    """One answer for an unknown address and for a wrong password."""
    return Unauthenticated("INVALID_CREDENTIALS", "The e-mail address or the password is wrong.")


def invalid_refresh_token() -> Unauthenticated:
    return Unauthenticated("INVALID_REFRESH_TOKEN", "The session has ended; sign in again.")


def session_ended() -> Unauthenticated:
    return Unauthenticated("SESSION_ENDED", "The session has ended; sign in again.")


def invalid_code() -> InvalidArgument:
    """One answer for an unknown address and for a code that is wrong, used or too old."""
    rule = "must be the latest code, in time"
    return InvalidArgument("INVALID_CODE", "The code is not valid.", Violation("code", rule))


def invalid_totp() -> Unauthenticated:
    return Unauthenticated("INVALID_TOTP", "The code of the authenticator app is wrong.")


def totp_enabled() -> FailedPrecondition:
    return FailedPrecondition("TOTP_ALREADY_ENABLED", "An authenticator app is enrolled already.")
