from __future__ import annotations

import pytest

from bank.users.v1 import events_pb2 as events
from bank.users.v1 import staff_pb2
from bank.users.v1 import users_pb2 as pb
from mesh.auth import STEP_UP_S
from mesh.errors import NotFound, PermissionDenied, StepUpRequired, Unauthenticated
from services.users import domain

from .driver import CONTEXT, CPF, EMAIL, PASSWORD, Clock, Users

NEW_PASSWORD = "a wholly new password"


async def test_sessions_are_listed_with_their_devices_and_ended_one_by_one(users: Users) -> None:
    await users.confirmed()
    phone = (await users.sign_in(device="phone")).access_token
    laptop = (await users.sign_in(device="laptop")).access_token

    listed = await users.sessions(laptop)
    (other,) = [session for session in listed if not session.current]
    request = pb.DeleteSessionRequest(session_id=other.session_id)
    await users.call(users.api.DeleteSession, request, laptop)

    assert {session.device_name for session in listed} == {"phone", "laptop"}
    with pytest.raises(Unauthenticated):
        await users.me(phone)
    assert list((await users.last_told(events.SessionsRevoked)).session_ids) == [other.session_id]


async def test_another_s_session_is_not_ended(users: Users) -> None:
    await users.confirmed()
    await users.confirmed("bia@example.com")
    ana = (await users.sign_in()).access_token
    bia = (await users.sign_in(email="bia@example.com")).access_token
    request = pb.DeleteSessionRequest(session_id=(await users.user_of(ana)).session_id)

    await users.call(users.api.DeleteSession, request, bia)

    assert (await users.me(ana)).user.email == EMAIL


async def test_a_device_that_is_new_beside_others_is_told_of_once(users: Users) -> None:
    await users.confirmed()
    for device in ("phone", "phone", "laptop", "laptop", "phone"):
        await users.sign_in(device=device)

    assert sum("NewDeviceSeen" in event for event in await users.told()) == 1


async def test_of_too_many_sessions_the_oldest_ends(
    users: Users, monkeypatch: pytest.MonkeyPatch, clock: Clock
) -> None:
    monkeypatch.setattr(domain, "MOST_SESSIONS", 2)
    await users.confirmed()
    tokens = []
    for _ in range(3):
        clock.go_on(1)
        tokens.append((await users.sign_in()).access_token)

    with pytest.raises(Unauthenticated):
        await users.me(tokens[0])
    assert len(await users.sessions(tokens[2])) == 2


async def test_a_changed_password_ends_the_other_sessions(users: Users) -> None:
    await users.confirmed()
    here, there = [(await users.sign_in()).access_token for _ in range(2)]
    request = pb.ChangePasswordRequest(current_password=PASSWORD, new_password=NEW_PASSWORD)

    await users.call(users.api.ChangePassword, request, here)

    assert (await users.me(here)).user.email == EMAIL
    with pytest.raises(Unauthenticated):
        await users.me(there)
    await users.sign_in(NEW_PASSWORD)
    with pytest.raises(PermissionDenied) as refused:
        await users.call(users.api.ChangePassword, request, here)
    assert refused.value.reason == "WRONG_PASSWORD"


async def test_a_recovery_code_stands_in_for_the_app_once(users: Users, clock: Clock) -> None:
    await users.confirmed()
    _, codes = await users.enrol((await users.sign_in()).access_token)

    session = await users.sign_in(totp=codes[0].upper())

    assert len(codes) == domain.RECOVERY_CODES
    user = await users.user_of(session.access_token)
    assert user.second_factor_at == clock.us // domain.SECOND_US
    for code in (codes[0], "a-made-up-one"):
        with pytest.raises(Unauthenticated):
            await users.sign_in(totp=code)
    kept = await users.everything_kept()
    assert not any(code in kept for code in codes)


async def test_what_is_personal_is_kept_sealed(users: Users) -> None:
    await users.confirmed()
    token = (await users.sign_in(device="Ana's phone")).access_token
    app, _ = await users.enrol(token)
    await users.invite(token, await users.company(token), "bia@example.com", "VIEWER")

    kept = await users.everything_kept()

    for secret in ("ana", EMAIL, "Ana Lima'", "52998224725", app.secret, "bia@", "phone"):
        assert secret not in kept
    assert '"d":' not in kept


async def test_a_person_is_given_all_that_is_kept(users: Users) -> None:
    await users.confirmed()
    token = (await users.sign_in(device="phone")).access_token

    export = await users.call(users.api.ExportMe, pb.ExportMeRequest(), token)

    assert (export.user.email, export.user.full_name) == (EMAIL, "Ana Lima")
    assert export.cpf == CPF.replace(".", "").replace("-", "")
    assert [company.legal_name for company in export.companies] == ["Ana Lima ME"]
    assert [device.device_name for device in export.devices] == ["phone"]
    assert [session.current for session in export.sessions] == [True]


async def test_who_is_erased_is_nobody_and_their_row_stays(users: Users) -> None:
    user_id = await users.confirmed()
    token = (await users.sign_in(device="phone")).access_token
    session_id = (await users.user_of(token)).session_id
    company_id = await users.company(token)

    await users.erase(token)

    told = await users.told()
    assert told[-1].startswith("UserErased")
    assert list((await users.last_told(events.SessionsRevoked)).session_ids) == [session_id]
    left = await users.last_told(events.MembershipChanged)
    assert (left.company_id, left.role) == (company_id, pb.ROLE_UNSPECIFIED)
    with pytest.raises(Unauthenticated) as refused:
        await users.sign_in()
    assert refused.value.reason == "INVALID_CREDENTIALS"
    (row,) = await users.rows("SELECT * FROM users")
    assert row["id"] == user_id
    personal = ("sealed_key", "email", "full_name", "cpf", "totp_secret", "password_hash")
    assert {row[name] for name in personal} == {""}
    with pytest.raises(NotFound):
        await users.api.GetContact(pb.GetContactRequest(user_id=user_id), CONTEXT)
    assert await users.sign_up()


async def test_erasing_needs_a_proof_of_just_now(users: Users, clock: Clock) -> None:
    await users.confirmed()
    token = (await users.sign_in()).access_token
    clock.go_on((STEP_UP_S + 1) * domain.SECOND_US)
    with pytest.raises(PermissionDenied) as old:
        await users.erase(token)
    app, _ = await users.enrol(token)
    clock.go_on(domain.MINUTE_US)
    with pytest.raises(StepUpRequired):
        await users.erase(token)

    await users.erase(await users.step_up(token, app.at(clock.us // domain.SECOND_US)))

    assert old.value.reason == "SIGN_IN_AGAIN"


async def test_who_is_disabled_is_out_at_once_until_enabled(users: Users) -> None:
    user_id = await users.confirmed()
    session = await users.sign_in()

    for _ in range(2):
        request = staff_pb2.DisableUserRequest(user_id=user_id)
        await users.staff.DisableUser(request, CONTEXT)

    with pytest.raises(Unauthenticated):
        await users.me(session.access_token)
    with pytest.raises(Unauthenticated):
        await users.refresh(session.refresh_token)
    with pytest.raises(PermissionDenied) as refused:
        await users.sign_in()
    assert refused.value.reason == "USER_DISABLED"
    with pytest.raises(Unauthenticated):
        await users.sign_in("not the password")
    await users.staff.EnableUser(staff_pb2.EnableUserRequest(user_id=user_id), CONTEXT)
    await users.sign_in()


async def test_staff_is_staff_with_a_second_factor_only(users: Users, clock: Clock) -> None:
    request = staff_pb2.CreateStaffUserRequest(email="eva@bank.example", full_name="Eva")
    user_id = (await users.staff.CreateStaffUser(request, CONTEXT)).user.user_id
    await users.reset(await users.code(user_id, "PASSWORD_RESET"), NEW_PASSWORD, "eva@bank.example")

    session = await users.sign_in(NEW_PASSWORD, "eva@bank.example")
    assert (await users.user_of(session.access_token)).scopes == frozenset()
    await users.enrol(session.access_token)

    refreshed = await users.refresh(session.refresh_token)
    assert (await users.user_of(refreshed.access_token)).scopes == {"staff"}
