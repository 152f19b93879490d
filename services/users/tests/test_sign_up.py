from __future__ import annotations

import asyncio

import pytest

from bank.users.v1 import users_pb2 as pb
from mesh.errors import FailedPrecondition, InvalidArgument, NotFound
from mesh.ids import new_id
from services.users import domain

from .driver import CONTEXT, EMAIL, PASSWORD, Clock, Users


async def test_a_sign_up_waits_for_its_confirmation(users: Users) -> None:
    user = await users.sign_up()

    assert user.status == pb.USER_STATUS_PENDING
    assert user.email == EMAIL
    assert await users.told() == ["UserRegistered 1"]


async def test_a_confirmation_opens_the_company_and_makes_its_owner(users: Users) -> None:
    user = await users.sign_up()

    confirmed = await users.confirm(await users.code(user.user_id))

    assert confirmed.status == pb.USER_STATUS_CONFIRMED
    assert await users.told() == [
        "UserRegistered 1",
        "UserConfirmed 2",
        "CompanyOpened 1",
        "MembershipChanged 2",
    ]
    me = await users.me((await users.sign_in()).access_token)
    assert [(company.legal_name, company.role) for company in me.companies] == [
        ("Ana Lima ME", pb.ROLE_OWNER)
    ]
    assert (me.user.user_id, me.totp_enabled) == (user.user_id, False)


async def test_an_address_names_one_user_however_it_is_written(users: Users) -> None:
    await users.sign_up("ana@example.com")

    again = await users.sign_up("ANA@example.COM")

    (row,) = await users.rows("SELECT id FROM users")
    assert row["id"] != again.user_id


async def test_signing_up_with_a_known_address_is_answered_alike_and_told_to_the_address(
    users: Users,
) -> None:
    first = await users.sign_up()
    again = await users.sign_up(password="another password of mine")

    assert (again.email, again.status, again.full_name) == (
        first.email,
        first.status,
        first.full_name,
    )
    assert await users.told() == ["UserRegistered 1", "CodeRequested 2"]
    await users.confirm(await users.code(first.user_id))
    await users.sign_in(PASSWORD)
    await users.sign_up()
    assert (await users.told())[-1] == "CodeRequested 4"
    assert len(await users.rows("SELECT id FROM companies")) == 1


async def test_of_many_sign_ups_at_once_one_is_kept(users: Users) -> None:
    answers = await asyncio.gather(*(users.sign_up() for _ in range(8)))

    (row,) = await users.rows("SELECT id FROM users")
    assert [answer.user_id for answer in answers].count(row["id"]) == 1
    assert (await users.told())[0] == "UserRegistered 1"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"password": "password"}, "WEAK_PASSWORD"),
        ({"cpf": "529.982.247-26"}, "INVALID_CPF"),
        ({"cnpj": "16.727.230/0001-98"}, "INVALID_CNPJ"),
    ],
)
async def test_what_makes_no_sense_is_refused_and_leaves_nothing(
    users: Users, changes: dict[str, str], reason: str
) -> None:
    with pytest.raises(InvalidArgument) as refused:
        await users.sign_up(**changes)

    assert refused.value.reason == reason
    assert refused.value.violations
    assert await users.rows("SELECT id FROM users") == []


async def test_a_code_is_good_once(users: Users) -> None:
    code = await users.code((await users.sign_up()).user_id)
    await users.confirm(code)

    with pytest.raises(InvalidArgument, match="not valid"):
        await users.confirm(code)


async def test_of_many_confirmations_at_once_one_opens_the_company(users: Users) -> None:
    code = await users.code((await users.sign_up()).user_id)

    await asyncio.gather(*(users.confirm(code) for _ in range(5)), return_exceptions=True)

    assert (await users.told()).count("CompanyOpened 1") == 1


async def test_a_code_expires(users: Users, clock: Clock) -> None:
    code = await users.code((await users.sign_up()).user_id)
    clock.go_on(domain.CODE_LIFE_US)

    with pytest.raises(InvalidArgument):
        await users.confirm(code)


async def test_a_code_locks_after_five_wrong_tries(users: Users) -> None:
    code = await users.code((await users.sign_up()).user_id)
    for _ in range(domain.CODE_TRIES):
        with pytest.raises(InvalidArgument):
            await users.confirm(wrong(code))

    with pytest.raises(InvalidArgument):
        await users.confirm(code)


async def test_tries_at_once_are_no_more_than_tries_in_a_row(users: Users) -> None:
    code = await users.code((await users.sign_up()).user_id)
    await asyncio.gather(*(users.confirm(wrong(code)) for _ in range(20)), return_exceptions=True)

    with pytest.raises(InvalidArgument):
        await users.confirm(code)


async def test_the_next_code_takes_the_place_of_the_last(users: Users) -> None:
    user = await users.sign_up()
    first, second = await users.code(user.user_id), await users.code(user.user_id)

    if first != second:
        with pytest.raises(InvalidArgument):
            await users.confirm(first)
    assert (await users.confirm(second)).status == pb.USER_STATUS_CONFIRMED


async def test_a_code_is_good_for_its_purpose_only(users: Users) -> None:
    code = await users.code((await users.sign_up()).user_id)

    with pytest.raises(InvalidArgument) as refused:
        await users.reset(code, "another long password")

    assert refused.value.reason == "INVALID_CODE"


async def test_an_unknown_address_is_answered_like_a_wrong_code(users: Users) -> None:
    code = await users.code((await users.sign_up()).user_id)
    with pytest.raises(InvalidArgument) as wrong_code:
        await users.confirm(wrong(code))
    with pytest.raises(InvalidArgument) as unknown:
        await users.confirm(code, "bob@example.com")

    assert str(unknown.value) == str(wrong_code.value)


async def test_codes_passwords_and_tokens_are_kept_nowhere(users: Users) -> None:
    user = await users.sign_up()
    code = await users.code(user.user_id)

    kept = await users.everything_kept()
    assert f"'{code}'" not in kept
    assert PASSWORD not in kept

    await users.confirm(code)
    session = await users.sign_in()
    assert session.refresh_token not in await users.everything_kept()


async def test_events_carry_nothing_personal(users: Users) -> None:
    await users.confirmed()
    await resend(users)

    rows = await users.rows("SELECT payload, headers FROM outbox")
    told = "".join(f"{bytes(row['payload'])!r}{row['headers']}" for row in rows)
    for personal in ("ana", "Ana", "example.com", "52998224725", "16727230000197"):
        assert personal not in told


async def resend(users: Users, email: str = EMAIL) -> None:
    await users.api.ResendConfirmation(pb.ResendConfirmationRequest(email=email), CONTEXT)


async def test_another_code_is_sent_to_who_waits_for_one(users: Users) -> None:
    await users.sign_up()

    await resend(users)

    assert await users.told() == ["UserRegistered 1", "CodeRequested 2"]


async def test_who_needs_no_code_gets_none_and_nobody_is_told(users: Users) -> None:
    await resend(users, "nobody@example.com")
    user_id = await users.confirmed()
    await resend(users)

    assert not [event for event in await users.told() if event.startswith("CodeRequested")]
    with pytest.raises(FailedPrecondition):
        await users.code(user_id)


async def test_only_so_many_codes_are_sent_in_an_hour(users: Users, clock: Clock) -> None:
    await users.sign_up()
    for _ in range(domain.CODES_AN_HOUR + 3):
        await resend(users)
    assert len(await users.told()) == 1 + domain.CODES_AN_HOUR

    clock.go_on(domain.HOUR_US)
    await resend(users)
    assert len(await users.told()) == 2 + domain.CODES_AN_HOUR


async def test_a_user_is_reached_by_id(users: Users) -> None:
    user = await users.sign_up()

    contact = await users.api.GetContact(pb.GetContactRequest(user_id=user.user_id), CONTEXT)

    assert (contact.email, contact.full_name) == (EMAIL, "Ana Lima")
    with pytest.raises(NotFound):
        await users.api.GetContact(pb.GetContactRequest(user_id=new_id()), CONTEXT)


def wrong(code: str) -> str:
    return f"{(int(code) + 1) % 1_000_000:06}"
