from __future__ import annotations

import asyncio

import pytest

from bank.users.v1 import events_pb2 as events
from bank.users.v1 import users_pb2 as pb
from mesh.errors import FailedPrecondition, NotFound, PermissionDenied
from services.users import domain

from .driver import Clock, Users

BIA = "bia@example.com"


async def two_people(users: Users) -> tuple[str, str, str]:
    """An owner and a stranger, signed in; and the owner's company."""
    await users.confirmed()
    await users.confirmed(BIA)
    owner = (await users.sign_in()).access_token
    other = (await users.sign_in(email=BIA)).access_token
    return owner, other, await users.company(owner)


async def test_who_is_invited_becomes_a_member_by_the_code_that_was_sent(users: Users) -> None:
    owner, bia, company_id = await two_people(users)
    bia_id = (await users.user_of(bia)).user_id

    code = await users.invite(owner, company_id, "Bia@Example.com", "OPERATOR")
    company = await users.accept(bia, code)

    assert (company.company_id, company.role) == (company_id, pb.ROLE_OPERATOR)
    assert (await users.members(bia, company_id))[bia_id] == pb.ROLE_OPERATOR
    changed = await users.last_told(events.MembershipChanged)
    assert (changed.user_id, changed.role) == (bia_id, pb.ROLE_OPERATOR)
    with pytest.raises(NotFound):
        await users.accept(bia, code)


async def test_an_invitation_is_for_its_address_and_not_for_ever(
    users: Users, clock: Clock
) -> None:
    owner, bia, company_id = await two_people(users)
    for_carla = await users.invite(owner, company_id, "carla@example.com", "VIEWER")
    late = await users.invite(owner, company_id, BIA, "VIEWER")

    with pytest.raises(NotFound):
        await users.accept(bia, for_carla)
    clock.go_on(domain.INVITATION_LIFE_US)
    bia = (await users.sign_in(email=BIA)).access_token
    with pytest.raises(NotFound):
        await users.accept(bia, late)


async def test_of_many_who_accept_at_once_one_does(users: Users) -> None:
    owner, bia, company_id = await two_people(users)
    code = await users.invite(owner, company_id, BIA, "VIEWER")

    answers = await asyncio.gather(
        *(users.accept(bia, code) for _ in range(5)), return_exceptions=True
    )

    assert sum(isinstance(answer, pb.Company) for answer in answers) == 1


async def test_to_who_is_no_member_there_is_no_such_company(users: Users) -> None:
    _, bia, company_id = await two_people(users)

    for attempt in (
        users.members(bia, company_id),
        users.invite(bia, company_id, "x@example.com", "OWNER"),
        users.change(bia, company_id, company_id, "OWNER"),
        users.remove(bia, company_id, company_id),
    ):
        with pytest.raises(NotFound) as refused:
            await attempt
        assert refused.value.reason == "COMPANY_NOT_FOUND"


async def test_who_is_no_owner_changes_nobody(users: Users) -> None:
    owner, bia, company_id = await two_people(users)
    owner_id = (await users.user_of(owner)).user_id
    await users.accept(bia, await users.invite(owner, company_id, BIA, "APPROVER"))

    for attempt in (
        users.invite(bia, company_id, "x@example.com", "OWNER"),
        users.change(bia, company_id, owner_id, "VIEWER"),
        users.remove(bia, company_id, owner_id),
    ):
        with pytest.raises(PermissionDenied) as refused:
            await attempt
        assert refused.value.reason == "ROLE_NOT_ALLOWED"


async def test_the_last_owner_stays(users: Users) -> None:
    owner, bia, company_id = await two_people(users)
    owner_id, bia_id = [(await users.user_of(token)).user_id for token in (owner, bia)]
    await users.accept(bia, await users.invite(owner, company_id, BIA, "VIEWER"))

    with pytest.raises(FailedPrecondition) as refused:
        await users.change(owner, company_id, owner_id, "VIEWER")
    with pytest.raises(FailedPrecondition):
        await users.remove(owner, company_id, owner_id)
    with pytest.raises(FailedPrecondition):
        await users.erase(owner)

    assert refused.value.reason == "LAST_OWNER"
    await users.change(owner, company_id, bia_id, "OWNER")
    answers = await asyncio.gather(
        users.remove(owner, company_id, bia_id),
        users.remove(bia, company_id, owner_id),
        return_exceptions=True,
    )
    assert answers.count(None) >= 1
    rows = await users.rows(
        "SELECT * FROM memberships WHERE company_id = :c AND role = 'owner'", c=company_id
    )
    assert len(rows) == 1


async def test_a_member_leaves_and_everybody_is_told(users: Users) -> None:
    owner, bia, company_id = await two_people(users)
    bia_id = (await users.user_of(bia)).user_id
    await users.accept(bia, await users.invite(owner, company_id, BIA, "VIEWER"))

    await users.remove(bia, company_id, bia_id)
    await users.remove(owner, company_id, bia_id)

    changed = await users.last_told(events.MembershipChanged)
    assert (changed.user_id, changed.role) == (bia_id, pb.ROLE_UNSPECIFIED)
    assert bia_id not in await users.members(owner, company_id)
