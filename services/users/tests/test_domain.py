from __future__ import annotations

from typing import Any

import pyotp
import pytest

from mesh.errors import InvalidArgument, Overloaded, PermissionDenied, Unauthenticated
from services.users import domain
from services.users.domain import Failures, Purpose, Session, Status, User, passwords

NOW_US = 1_800_000_000_000_000
SECRET = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP"


def a_user(**changes: Any) -> User:
    known = {
        "email": "ana@example.com",
        "full_name": "Ana",
        "cpf": "52998224725",
        "password_hash": "hash",
        "status": Status.CONFIRMED,
    }
    return User(**(known | changes))


def the_code(step: int = 0) -> str:
    return pyotp.TOTP(SECRET).at(NOW_US // 1_000_000 + 30 * step)


def test_an_address_is_the_same_however_it_is_written() -> None:
    assert domain.email_key(" Ana@EXAMPLE.com ") == domain.email_key("ana@example.com")


@pytest.mark.parametrize(
    "password",
    ["password", "PassWord1", "senha123", "aaaaaaaaaaaa", "1212121212", "short", "x1y" * 43],
)
def test_a_password_that_many_use_or_that_is_too_short_or_too_long_is_refused(
    password: str,
) -> None:
    with pytest.raises(InvalidArgument) as refused:
        passwords.check(password, "new_password", "ana@example.com")

    assert refused.value.reason == "WEAK_PASSWORD"
    assert [violation.field for violation in refused.value.violations] == ["new_password"]


@pytest.mark.parametrize("password", ["ana.lima@example.com", "Ana.Lima", "ANA.LIMA@example.com"])
def test_a_password_is_not_the_address(password: str) -> None:
    with pytest.raises(InvalidArgument):
        passwords.check(password, "password", "Ana.Lima@Example.com")


def test_a_password_needs_no_digits_and_no_signs() -> None:
    assert passwords.check("correct horse", "password", "a@b.c") == "correct horse"


def test_a_password_is_the_same_on_every_keyboard() -> None:
    assert passwords.normal("ﬁnançașunt") == passwords.normal(
        "finança\u0327șunt".replace("ça\u0327", "ça")
    )


@pytest.mark.parametrize("text", ["529.982.247-25", "52998224725"])
def test_a_cpf_is_kept_as_its_digits(text: str) -> None:
    assert domain.cpf(text) == "52998224725"


@pytest.mark.parametrize("text", ["529.982.247-26", "00000000000", "5299822472", "cpf"])
def test_a_cpf_has_its_check_digits(text: str) -> None:
    with pytest.raises(InvalidArgument, match="not a CPF"):
        domain.cpf(text)


@pytest.mark.parametrize("text", ["16.727.230/0001-97", "12.ABC.345/01DE-35", "12abc34501de35"])
def test_a_cnpj_may_have_letters(text: str) -> None:
    assert len(domain.cnpj(text)) == 14


@pytest.mark.parametrize("text", ["16.727.230/0001-98", "12.ABC.345/01DE-36", "00000000000000"])
def test_a_cnpj_has_its_check_digits(text: str) -> None:
    with pytest.raises(InvalidArgument, match="not a CNPJ"):
        domain.cnpj(text)


@pytest.mark.parametrize(
    ("count", "wait_s"), [(0, 0), (4, 0), (5, 1), (6, 2), (9, 16), (14, 512), (15, 900), (99, 900)]
)
def test_the_wait_grows_with_each_failure_after_the_free_ones(count: int, wait_s: int) -> None:
    assert Failures(count, NOW_US).wait_us() == wait_s * 1_000_000


def test_a_wait_says_how_long_it_is() -> None:
    with pytest.raises(Overloaded) as waiting:
        Failures(7, NOW_US).must_be_over(NOW_US + 1_000_000)

    assert waiting.value.retry_after_s == pytest.approx(3)
    Failures(7, NOW_US).must_be_over(NOW_US + 4_000_000)


def test_an_unknown_user_and_a_wrong_password_are_answered_alike() -> None:
    with pytest.raises(Unauthenticated) as unknown:
        domain.sign_in(None, False, "", NOW_US)
    with pytest.raises(Unauthenticated) as wrong:
        domain.sign_in(a_user(status=Status.PENDING), False, "", NOW_US)

    assert (unknown.value.reason, unknown.value.message) == (
        wrong.value.reason,
        wrong.value.message,
    )


@pytest.mark.parametrize(
    ("status", "reason"),
    [(Status.PENDING, "USER_NOT_CONFIRMED"), (Status.DISABLED, "USER_DISABLED")],
)
def test_who_may_not_sign_in_learns_it_after_the_right_password(
    status: Status, reason: str
) -> None:
    with pytest.raises(PermissionDenied) as denied:
        domain.sign_in(a_user(status=status), True, "", NOW_US)

    assert denied.value.reason == reason


@pytest.mark.parametrize("step", [-1, 0, 1])
def test_a_code_of_the_app_is_good_a_little_early_and_a_little_late(step: int) -> None:
    user = a_user(totp_secret=SECRET, totp_is_enabled=True)

    session = domain.sign_in(user, True, the_code(step), NOW_US)

    assert session.totp_step == NOW_US // 30_000_000 + step
    assert "otp" in session.methods()


@pytest.mark.parametrize("code", ["", "000000", the_code(5), "ひみつ"])
def test_who_has_an_app_needs_its_code(code: str) -> None:
    user = a_user(totp_secret=SECRET, totp_is_enabled=True)

    with pytest.raises(Unauthenticated) as refused:
        domain.sign_in(user, True, code, NOW_US)

    assert refused.value.reason == ("INVALID_TOTP" if code else "TOTP_REQUIRED")


def test_a_code_of_the_app_is_good_once() -> None:
    used = NOW_US // 30_000_000
    user = a_user(totp_secret=SECRET, totp_is_enabled=True, totp_last_step=used)

    with pytest.raises(Unauthenticated, match="wrong"):
        domain.sign_in(user, True, the_code(), NOW_US)


def test_an_app_that_is_not_confirmed_is_not_asked_for() -> None:
    session = domain.sign_in(a_user(totp_secret=SECRET), True, "", NOW_US)

    assert session.methods() == ["pwd"]


def test_a_session_ends_after_a_day() -> None:
    session = Session(user_id="ana", began_at_us=NOW_US)

    assert session.is_live(NOW_US + domain.SESSION_LIFE_US - 1)
    assert not session.is_live(NOW_US + domain.SESSION_LIFE_US)


@pytest.mark.parametrize(
    ("status", "purpose", "needed"),
    [
        (Status.PENDING, Purpose.CONFIRMATION, True),
        (Status.CONFIRMED, Purpose.CONFIRMATION, False),
        (Status.PENDING, Purpose.PASSWORD_RESET, False),
        (Status.CONFIRMED, Purpose.PASSWORD_RESET, True),
        (Status.DISABLED, Purpose.PASSWORD_RESET, False),
    ],
)
def test_a_code_is_only_issued_where_it_is_good_for_something(
    status: Status, purpose: Purpose, needed: bool
) -> None:
    assert a_user(status=status).needs(purpose) is needed
