from __future__ import annotations

import asyncio
import threading

import pyotp
import pytest
from joserfc import jwt
from joserfc.jwk import ECKey

from bank.users.v1 import events_pb2 as events
from bank.users.v1 import users_pb2 as pb
from mesh.db import UnitOfWork, sql
from mesh.errors import (
    FailedPrecondition,
    InvalidArgument,
    Overloaded,
    PermissionDenied,
    Unauthenticated,
)
from services.users import credentials, domain

from .driver import CONTEXT, EMAIL, PASSWORD, Clock, Users, cheap

NEW_PASSWORD = "a wholly new password"


async def test_a_session_is_a_token_that_the_mesh_takes(users: Users) -> None:
    user_id = await users.confirmed()

    session = await users.sign_in(email=EMAIL.lower())

    assert (session.token_type, session.expires_in) == ("Bearer", 900)
    user = await users.user_of(session.access_token)
    assert user.user_id == user_id
    assert user.second_factor_at is None


async def test_a_token_says_what_rfc_9068_wants_and_nothing_personal(users: Users) -> None:
    await users.confirmed()

    session = await users.sign_in()

    (key,) = await users.token_keys()
    public = ECKey.import_key({"kty": "EC", "crv": "P-256", "x": key.x, "y": key.y})
    token = jwt.decode(session.access_token, public, algorithms=["ES256"])
    assert token.header == {"alg": "ES256", "typ": "at+jwt", "kid": key.kid}
    assert set(token.claims) == {
        *("iss", "aud", "client_id", "sub", "sid", "iat", "exp", "jti", "scope"),
        *("auth_time", "amr"),
    }


async def test_all_processes_sign_with_one_key(users: Users) -> None:
    listed = await asyncio.gather(*(users.token_keys() for _ in range(8)))

    assert {key.kid for keys in listed for key in keys} == {listed[0][0].kid}
    assert not any("d" in [field.name for field, _ in key.ListFields()] for key in listed[0])


@pytest.mark.parametrize("email", [EMAIL, "nobody@example.com"])
async def test_a_wrong_password_and_an_unknown_address_get_one_answer(
    users: Users, email: str
) -> None:
    await users.sign_up()

    with pytest.raises(Unauthenticated) as refused:
        await users.sign_in("not the password", email)

    assert refused.value.reason == "INVALID_CREDENTIALS"


async def test_who_is_not_confirmed_learns_it_with_the_right_password(users: Users) -> None:
    await users.sign_up()

    with pytest.raises(PermissionDenied) as refused:
        await users.sign_in()

    assert refused.value.reason == "USER_NOT_CONFIRMED"


@pytest.mark.parametrize("email", [EMAIL, "nobody@example.com"])
async def test_guessing_is_slowed_down_for_known_and_unknown_addresses(
    users: Users, clock: Clock, email: str
) -> None:
    await users.confirmed()
    for _ in range(domain.FREE_TRIES):
        with pytest.raises(Unauthenticated):
            await users.sign_in("not the password", email)

    with pytest.raises(Overloaded) as waiting:
        await users.sign_in(PASSWORD, email)

    assert waiting.value.reason == "TOO_MANY_TRIES"
    clock.go_on(domain.SECOND_US)
    if email == EMAIL:
        await users.sign_in()
        assert await users.rows("SELECT * FROM sign_in_failures") == []


async def test_a_refresh_token_is_traded_for_the_next_pair(users: Users) -> None:
    await users.confirmed()
    first = await users.sign_in()

    second = await users.refresh(first.refresh_token)
    third = await users.refresh(second.refresh_token)

    assert len({first.refresh_token, second.refresh_token, third.refresh_token}) == 3
    sessions = [await users.user_of(pair.access_token) for pair in (first, third)]
    assert sessions[0].session_id == sessions[1].session_id


async def test_a_token_that_was_traded_already_ends_the_whole_session(users: Users) -> None:
    await users.confirmed()
    first = await users.sign_in()
    second = await users.refresh(first.refresh_token)

    with pytest.raises(Unauthenticated) as reused:
        await users.refresh(first.refresh_token)

    assert reused.value.reason == "INVALID_REFRESH_TOKEN"
    with pytest.raises(Unauthenticated):
        await users.refresh(second.refresh_token)
    with pytest.raises(Unauthenticated):
        await users.me(second.access_token)
    revoked = await users.last_told(events.SessionsRevoked)
    user = await users.user_of(first.access_token)
    assert list(revoked.session_ids) == [user.session_id]


async def test_of_many_trades_at_once_one_may_win_and_the_session_ends(users: Users) -> None:
    await users.confirmed()
    token = (await users.sign_in()).refresh_token

    answers = await asyncio.gather(
        *(users.refresh(token) for _ in range(6)), return_exceptions=True
    )

    won = [answer for answer in answers if isinstance(answer, pb.RefreshSessionResponse)]
    assert len(won) == 1
    with pytest.raises(Unauthenticated):
        await users.refresh(won[0].refresh_token)


async def test_another_session_goes_on_when_one_ends(users: Users) -> None:
    await users.confirmed()
    phone, laptop = await users.sign_in(), await users.sign_in()

    await users.sign_out(phone.access_token)
    await users.sign_out(phone.access_token)

    with pytest.raises(Unauthenticated):
        await users.refresh(phone.refresh_token)
    await users.refresh(laptop.refresh_token)
    assert [event for event in await users.told() if "Revoked" in event] == ["SessionsRevoked 3"]


async def test_signing_out_everywhere_ends_all_sessions(users: Users) -> None:
    await users.confirmed()
    sessions = [await users.sign_in() for _ in range(3)]

    await users.sign_out_everywhere(sessions[0].access_token)

    for session in sessions:
        with pytest.raises(Unauthenticated):
            await users.refresh(session.refresh_token)
        with pytest.raises(Unauthenticated) as ended:
            await users.me(session.access_token)
        assert ended.value.reason == "SESSION_ENDED"
    assert len((await users.last_told(events.SessionsRevoked)).session_ids) == 3


async def test_a_token_that_was_made_up_is_nobodys(users: Users) -> None:
    with pytest.raises(Unauthenticated):
        await users.refresh("made-up")


async def test_a_session_lasts_a_day_and_is_forgotten_after(users: Users, clock: Clock) -> None:
    await users.confirmed()
    session = await users.sign_in()
    clock.go_on(domain.SESSION_LIFE_US)

    with pytest.raises(Unauthenticated):
        await users.refresh(session.refresh_token)

    clock.go_on(1)
    await users.sign_in()
    assert len(await users.rows("SELECT id FROM sessions")) == 1
    assert len(await users.rows("SELECT digest FROM refresh_tokens")) == 1


async def forgot(users: Users, email: str = EMAIL) -> None:
    await users.api.ForgotPassword(pb.ForgotPasswordRequest(email=email), CONTEXT)


async def test_a_new_password_ends_the_old_one_and_all_sessions(users: Users) -> None:
    user_id = await users.confirmed()
    session = await users.sign_in()
    await forgot(users)

    await users.reset(await users.code(user_id, "PASSWORD_RESET"), NEW_PASSWORD)

    with pytest.raises(Unauthenticated):
        await users.sign_in()
    with pytest.raises(Unauthenticated):
        await users.refresh(session.refresh_token)
    await users.sign_in(NEW_PASSWORD)
    assert "CodeRequested 3" in await users.told()


async def test_forgetting_says_nothing_of_unknown_addresses(users: Users) -> None:
    await forgot(users, "nobody@example.com")
    await users.sign_up()
    await forgot(users)

    assert await users.told() == ["UserRegistered 1"]


async def test_a_weak_new_password_costs_no_try(users: Users) -> None:
    user_id = await users.confirmed()
    code = await users.code(user_id, "PASSWORD_RESET")
    for _ in range(domain.CODE_TRIES + 1):
        with pytest.raises(InvalidArgument) as refused:
            await users.reset(code, "password")
        assert refused.value.reason == "WEAK_PASSWORD"

    await users.reset(code, NEW_PASSWORD)


async def test_a_second_factor_is_asked_for_once_it_is_confirmed(
    users: Users, clock: Clock
) -> None:
    await users.confirmed()
    token = (await users.sign_in()).access_token
    enrolment = await users.begin_totp(token)
    app = pyotp.parse_uri(enrolment.provisioning_uri)
    assert isinstance(app, pyotp.TOTP)
    assert app.secret == enrolment.secret
    await users.sign_in()

    await users.confirm_totp(token, app.at(clock.us // 1_000_000))

    assert (await users.me(token)).totp_enabled
    with pytest.raises(Unauthenticated) as missing:
        await users.sign_in()
    assert missing.value.reason == "TOTP_REQUIRED"
    with pytest.raises(Unauthenticated):
        await users.sign_in(totp=app.at(clock.us // 1_000_000))
    clock.go_on(30 * domain.SECOND_US)
    session = await users.sign_in(totp=app.at(clock.us // 1_000_000))
    user = await users.user_of(session.access_token)
    assert user.second_factor_at == clock.us // 1_000_000


async def test_of_many_sign_ins_with_one_code_of_the_app_one_succeeds(
    users: Users, clock: Clock
) -> None:
    await users.confirmed()
    token = (await users.sign_in()).access_token
    app = pyotp.TOTP((await users.begin_totp(token)).secret)
    await users.confirm_totp(token, app.at(clock.us // 1_000_000))
    clock.go_on(30 * domain.SECOND_US)
    code = app.at(clock.us // 1_000_000)

    answers = await asyncio.gather(
        *(users.sign_in(totp=code) for _ in range(4)), return_exceptions=True
    )

    assert sum(isinstance(answer, pb.CreateSessionResponse) for answer in answers) == 1


async def test_an_enrolled_app_is_not_replaced(users: Users, clock: Clock) -> None:
    await users.confirmed()
    token = (await users.sign_in()).access_token
    app = pyotp.TOTP((await users.begin_totp(token)).secret)
    with pytest.raises(InvalidArgument):
        await users.confirm_totp(
            token, "000000" if app.at(clock.us // 1_000_000) != "000000" else "1"
        )
    await users.confirm_totp(token, app.at(clock.us // 1_000_000))

    with pytest.raises(FailedPrecondition):
        await users.begin_totp(token)
    with pytest.raises(FailedPrecondition):
        await users.confirm_totp(token, app.at(clock.us // 1_000_000))


async def test_a_password_is_hashed_again_when_hashes_have_come_to_cost_more(
    users: Users,
) -> None:
    await users.confirmed()
    users.api.passwords = credentials.Passwords(
        credentials.Argon2Settings(memory_kib=128, time_cost=1)
    )

    await users.sign_in()

    (row,) = await users.rows("SELECT password_hash FROM users")
    assert "m=128" in row["password_hash"]
    await users.sign_in()


async def test_a_disabled_user_does_not_sign_in(users: Users) -> None:
    await users.confirmed()

    async def disable(work: UnitOfWork) -> None:
        await work.execute(sql("UPDATE users SET status = 'disabled'"))

    await users.database.transact(disable)
    with pytest.raises(PermissionDenied):
        await users.sign_in()


class WatchedPasswords(credentials.Passwords):
    """Notes the thread of each comparison."""

    def __init__(self) -> None:
        super().__init__(credentials.Argon2Settings(memory_kib=64, time_cost=1))
        self.threads: list[int] = []

    def _same(self, hashed: str, secret: str) -> bool:
        self.threads.append(threading.get_ident())
        return super()._same(hashed, secret)


async def test_an_unknown_address_costs_as_much_as_a_known_one_and_not_the_loop(
    users: Users,
) -> None:
    await users.confirmed()
    passwords = users.api.passwords = WatchedPasswords()
    for email in (EMAIL, "nobody@example.com"):
        with pytest.raises(Unauthenticated):
            await users.sign_in("not the password", email)
        with pytest.raises(InvalidArgument):
            await users.confirm("000000", email)

    assert len(passwords.threads) == 4
    assert threading.get_ident() not in passwords.threads


def test_cheap_hashes_do_not_go_live() -> None:
    credentials.Argon2Settings().must_be_strong()
    with pytest.raises(ValueError, match="too cheap"):
        credentials.Argon2Settings(memory_kib=64).must_be_strong()


async def test_too_many_hashes_at_once_are_turned_away() -> None:
    passwords = cheap(threads=1, queue=1)

    answers = await asyncio.gather(
        *(passwords.hash("secret") for _ in range(5)), return_exceptions=True
    )

    assert [isinstance(answer, Overloaded) for answer in answers] == [
        False,
        False,
        True,
        True,
        True,
    ]
    assert await passwords.match("secret", await passwords.hash("secret"))
    assert not await passwords.match("secret", None)
