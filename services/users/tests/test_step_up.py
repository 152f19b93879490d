from __future__ import annotations

import pyotp
import pytest

from mesh.auth import STEP_UP_S, require_step_up
from mesh.errors import FailedPrecondition, Overloaded, StepUpRequired, Unauthenticated
from services.users import domain

from .driver import Clock, Users


async def enrolled(users: Users, clock: Clock) -> tuple[str, pyotp.TOTP]:
    """Somebody with an authenticator app: their access token, and the app."""
    await users.confirmed()
    token = (await users.sign_in()).access_token
    app = pyotp.TOTP((await users.begin_totp(token)).secret)
    await users.confirm_totp(token, app.at(clock.us // domain.SECOND_US))
    return token, app


async def test_a_code_of_the_app_makes_the_second_factor_fresh(users: Users, clock: Clock) -> None:
    token, app = await enrolled(users, clock)
    clock.go_on((STEP_UP_S + 1) * domain.SECOND_US)
    now = clock.us / domain.SECOND_US
    with pytest.raises(StepUpRequired) as asked:
        require_step_up(await users.user_of(token), now=now)
    assert (asked.value.reason, asked.value.max_age_s) == ("STEP_UP_REQUIRED", 300)

    stepped = await users.step_up(token, app.at(int(now)))

    require_step_up(await users.user_of(stepped), now=now)
    assert (await users.user_of(stepped)).session_id == (await users.user_of(token)).session_id


async def test_a_code_is_good_for_one_step_up(users: Users, clock: Clock) -> None:
    token, app = await enrolled(users, clock)
    clock.go_on(domain.MINUTE_US)
    code = app.at(clock.us // domain.SECOND_US)
    await users.step_up(token, code)

    with pytest.raises(Unauthenticated) as refused:
        await users.step_up(token, code)

    assert refused.value.reason == "INVALID_TOTP"


async def test_guessing_at_a_step_up_is_slowed_down(users: Users, clock: Clock) -> None:
    token, app = await enrolled(users, clock)
    clock.go_on(domain.MINUTE_US)
    right = app.at(clock.us // domain.SECOND_US)
    for _ in range(domain.FREE_TRIES):
        with pytest.raises(Unauthenticated):
            await users.step_up(token, "000000" if right != "000000" else "111111")

    with pytest.raises(Overloaded):
        await users.step_up(token, right)


async def test_the_session_that_enrols_the_app_has_a_second_factor(
    users: Users, clock: Clock
) -> None:
    await users.confirmed()
    session = await users.sign_in()
    app = pyotp.TOTP((await users.begin_totp(session.access_token)).secret)
    await users.confirm_totp(session.access_token, app.at(clock.us // domain.SECOND_US))

    refreshed = await users.refresh(session.refresh_token)

    user = await users.user_of(refreshed.access_token)
    assert user.second_factor_at == clock.us // domain.SECOND_US


async def test_who_has_no_app_is_told_so(users: Users) -> None:
    await users.confirmed()

    with pytest.raises(FailedPrecondition) as refused:
        await users.step_up((await users.sign_in()).access_token, "000000")

    assert refused.value.reason == "TOTP_NOT_ENABLED"
