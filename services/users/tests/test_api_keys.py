from __future__ import annotations

from typing import Any

import pytest
from google.protobuf.message import Message

from bank.users.v1 import api_keys_pb2 as pb
from bank.users.v1 import events_pb2 as events
from bank.users.v1.users_pb2 import ROLE_OPERATOR, ROLE_UNSPECIFIED, ROLE_VIEWER
from mesh.db import UnitOfWork
from mesh.errors import FailedPrecondition, NotFound, PermissionDenied, Unauthenticated
from meshapi.v1 import tokens_pb2
from services.users import facts
from services.users.domain import DAY_US, plans

from .driver import CONTEXT, Clock, Users, as_user

BIA = "bia@example.com"


async def ask(users: Users, token: str, method: Any, request: Message) -> Any:
    """Calls as the user whom a token names; the contract asks for an owner."""
    with as_user(await users.user_of(token), {"owner"}):
        return await method(request, CONTEXT)


async def make(users: Users, token: str, *scopes: str, **plan: int) -> pb.CreateApiKeyResponse:
    request = pb.CreateApiKeyRequest(
        company_id=await users.company(token),
        name="the till",
        scopes=scopes or ["accounts:read"],
        plan=pb.UsagePlan(**plan),
    )
    made: pb.CreateApiKeyResponse = await ask(users, token, users.api_keys.CreateApiKey, request)
    return made


async def listed(users: Users, token: str) -> list[pb.ApiKey]:
    request = pb.ListApiKeysRequest(company_id=await users.company(token))
    answer = await ask(users, token, users.api_keys.ListApiKeys, request)
    return list(answer.keys)


async def revoke(users: Users, token: str, key: pb.ApiKey) -> None:
    request = pb.DeleteApiKeyRequest(company_id=key.company_id, key_id=key.key_id)
    await ask(users, token, users.api_keys.DeleteApiKey, request)


async def trade(users: Users, secret: str) -> tokens_pb2.ExchangeTokenResponse:
    request = tokens_pb2.ExchangeTokenRequest(access_token=secret)
    with as_user(await users.user_of((await users.sign_in()).access_token)):
        return await users.exchange.ExchangeToken(request, CONTEXT)


async def use(users: Users, key: pb.ApiKey, uses: int) -> tokens_pb2.Allowance:
    request = tokens_pb2.CountUsesRequest(key_id=key.key_id, uses=uses)
    return (await users.exchange.CountUses(request, CONTEXT)).allowance


@pytest.fixture
async def owner(users: Users) -> str:
    await users.confirmed()
    return (await users.sign_in()).access_token


async def test_a_secret_is_shown_once_and_not_kept(users: Users, owner: str) -> None:
    made = await make(users, owner)

    assert made.secret.startswith(plans.PREFIX)
    assert made.key.prefix == made.secret[: plans.SHOWN]
    assert made.secret not in await users.everything_kept()
    [key] = await listed(users, owner)
    assert key == made.key
    assert (key.name, list(key.scopes), key.plan.per_second) == ("the till", ["accounts:read"], 10)


async def test_a_key_is_traded_for_a_token_of_its_own_with_its_scopes_only(
    users: Users, owner: str
) -> None:
    made = await make(users, owner, "accounts:read", "statements:read", per_second=3, burst=7)

    traded = await trade(users, made.secret)

    user = await users.verifier.verify(traded.internal_token, "bff")
    assert (user.user_id, user.session_id) == (made.key.key_id, made.key.key_id)
    assert user.is_key
    assert user.scopes == {"accounts:read", "statements:read"}
    assert user.second_factor_at is None
    assert (traded.subject, traded.plan.per_second, traded.plan.burst) == (made.key.key_id, 3, 7)
    with pytest.raises(Unauthenticated):
        await trade(users, made.secret + "x")


@pytest.mark.parametrize(
    ("scope", "role"), [("accounts:read", ROLE_VIEWER), ("transfers:write", ROLE_OPERATOR)]
)
async def test_to_others_a_key_is_a_member_of_its_company_until_it_is_revoked(
    users: Users, owner: str, scope: str, role: int
) -> None:
    made = await make(users, owner, scope)
    told = await users.last_told(events.MembershipChanged)
    assert (told.company_id, told.user_id, told.role) == (
        made.key.company_id,
        made.key.key_id,
        role,
    )

    async def told_again(work: UnitOfWork) -> dict[str, int]:
        found = [fact.event for fact in await facts.members(work, "", 100)]
        members = [each for each in found if isinstance(each, events.MembershipChanged)]
        return {member.user_id: member.role for member in members}

    assert (await users.database.read(told_again))[made.key.key_id] == role
    assert made.key.key_id not in await users.members(owner, made.key.company_id)

    for _ in range(2):
        await revoke(users, owner, made.key)

    told = await users.last_told(events.MembershipChanged)
    assert (told.user_id, told.role) == (made.key.key_id, ROLE_UNSPECIFIED)
    ended = await users.last_told(events.SessionsRevoked)
    assert (ended.user_id, list(ended.session_ids)) == (made.key.key_id, [made.key.key_id])
    assert (await users.told()).count("SessionsRevoked 1") == 1
    assert made.key.key_id not in await users.database.read(told_again)
    assert await listed(users, owner) == []
    with pytest.raises(Unauthenticated) as refused:
        await trade(users, made.secret)
    assert refused.value.reason == "API_KEY_INVALID"
    assert not (await use(users, made.key, 1)).HasField("remaining")


async def test_uses_are_counted_by_day_and_month_against_the_quotas(
    users: Users, owner: str, clock: Clock
) -> None:
    made = await make(users, owner, daily_quota=10, monthly_quota=15)
    assert (await trade(users, made.secret)).plan.allowance.remaining == 10

    assert (await use(users, made.key, 4)).remaining == 6
    spent = await use(users, made.key, 6)
    assert spent.remaining == 0
    assert 0 < spent.resets_in <= 86_401
    [key] = await listed(users, owner)
    assert (key.used_today, key.used_this_month) == (10, 10)
    assert key.last_used_at.ToMicroseconds() == clock.us

    clock.go_on(DAY_US)
    owner = (await users.sign_in()).access_token
    [key] = await listed(users, owner)
    assert (key.used_today, key.used_this_month) == (0, 10)
    # The month has less left than the day.
    assert (await use(users, made.key, 0)).remaining == 5
    clock.go_on(31 * DAY_US)
    assert (await use(users, made.key, 0)).remaining == 10


async def test_a_key_without_quotas_has_no_end(users: Users, owner: str) -> None:
    made = await make(users, owner)
    assert not (await use(users, made.key, 1_000_000)).HasField("remaining")


async def test_keys_are_for_owners_of_the_company_and_not_without_number(
    users: Users, owner: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plans, "MOST_KEYS", 1)
    made = await make(users, owner)
    with pytest.raises(FailedPrecondition) as refused:
        await make(users, owner)
    assert refused.value.reason == "TOO_MANY_KEYS"

    await users.confirmed(BIA)
    bia = (await users.sign_in(email=BIA)).access_token
    with pytest.raises(NotFound):
        await revoke(users, bia, made.key)
    await users.accept(bia, await users.invite(owner, made.key.company_id, BIA, "APPROVER"))
    with pytest.raises(PermissionDenied):
        await revoke(users, bia, made.key)
    assert len(await listed(users, owner)) == 1
