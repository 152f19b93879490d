"""The door over real gRPC, with all that the contract promises."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from bank.users.v1 import events_pb2 as events
from bank.users.v1 import users_pb2 as pb
from bank.users.v1.users_pb2_grpc import UsersServiceStub
from mesh.errors import (
    InvalidArgument,
    Overloaded,
    PermissionDenied,
    Unauthenticated,
)
from mesh.ids import new_id
from mesh.rpc.context import Outgoing, outgoing
from mesh.testing.harness import Running, running
from meshapi.v1 import tokens_pb2
from meshapi.v1.tokens_pb2_grpc import TokenExchangeServiceStub
from services.users import domain
from services.users.app import build

from .driver import CNPJ, CPF, EMAIL, PASSWORD

if TYPE_CHECKING:
    from bank.users.v1.users_pb2_grpc import UsersServiceAsyncStub


@pytest.fixture
async def users(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Running]:
    monkeypatch.setenv("USERS_ARGON2_MEMORY_KIB", "64")
    async with running(build, tmp_path) as users:
        yield users


@pytest.fixture
def bff(users: Running) -> UsersServiceAsyncStub:
    return users.stub(UsersServiceStub)


@pytest.fixture
def notifications(users: Running) -> UsersServiceAsyncStub:
    return users.stub(UsersServiceStub, workload="notifications")


@asynccontextmanager
async def bearing(users: Running, access_token: str) -> AsyncIterator[None]:
    """Calls as the edge does: it trades what the app shows."""
    request = tokens_pb2.ExchangeTokenRequest(access_token=access_token)
    traded = await users.stub(TokenExchangeServiceStub).ExchangeToken(request)
    with outgoing(Outgoing(token=traded.internal_token)):
        yield


def a_sign_up(**changes: str) -> pb.CreateUserRequest:
    return pb.CreateUserRequest(
        email=changes.get("email", EMAIL),
        password=changes.get("password", PASSWORD),
        full_name="Ana Lima",
        cpf=changes.get("cpf", CPF),
        company=pb.NewCompany(legal_name="Ana Lima ME", cnpj=CNPJ),
    )


def a_sign_in(password: str = PASSWORD) -> pb.CreateSessionRequest:
    return pb.CreateSessionRequest(email=EMAIL, password=password)


async def test_somebody_signs_up_confirms_signs_in_and_signs_out(
    users: Running, bff: UsersServiceAsyncStub, notifications: UsersServiceAsyncStub
) -> None:
    user = (await bff.CreateUser(a_sign_up())).user
    issued = await notifications.IssueCode(
        pb.IssueCodeRequest(user_id=user.user_id, purpose=pb.CODE_PURPOSE_CONFIRMATION)
    )
    await bff.ConfirmUser(pb.ConfirmUserRequest(email=issued.email, code=issued.code))
    session = await bff.CreateSession(a_sign_in())

    async with bearing(users, session.access_token):
        me = await bff.GetMe(pb.GetMeRequest())
        await bff.DeleteCurrentSession(pb.DeleteCurrentSessionRequest())
        with pytest.raises(Unauthenticated):
            await bff.GetMe(pb.GetMeRequest())

    assert me.user.user_id == user.user_id
    (opened,) = await users.told(events.CompanyOpened)
    assert opened.data.company_id == opened.key == me.companies[0].company_id


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"email": "no address"}, "email"),
        ({"password": "short"}, "password"),
        ({"password": "password"}, "password"),
        ({"cpf": "529.982.247-26"}, "cpf"),
    ],
)
async def test_a_refusal_names_the_field_and_not_what_was_in_it(
    bff: UsersServiceAsyncStub, changes: dict[str, str], field: str
) -> None:
    with pytest.raises(InvalidArgument) as refused:
        await bff.CreateUser(a_sign_up(**changes))

    assert [violation.field for violation in refused.value.violations] == [field]
    if field != "password":
        assert changes[field] not in f"{refused.value} {refused.value.violations}"


async def test_reasons_reach_the_caller(bff: UsersServiceAsyncStub) -> None:
    await bff.CreateUser(a_sign_up())

    with pytest.raises(PermissionDenied) as unconfirmed:
        await bff.CreateSession(a_sign_in())
    with pytest.raises(Unauthenticated) as wrong:
        await bff.CreateSession(a_sign_in("not the password"))

    assert unconfirmed.value.reason == "USER_NOT_CONFIRMED"
    assert wrong.value.reason == "INVALID_CREDENTIALS"


async def test_who_guesses_is_told_how_long_to_wait(bff: UsersServiceAsyncStub) -> None:
    for _ in range(domain.FREE_TRIES + 1):
        with pytest.raises((Unauthenticated, Overloaded)) as refused:
            await bff.CreateSession(a_sign_in("not the password"))

    assert isinstance(refused.value, Overloaded)
    assert 0 < refused.value.retry_after_s <= 1


async def test_codes_and_contacts_are_for_notifications_alone(bff: UsersServiceAsyncStub) -> None:
    request = pb.IssueCodeRequest(user_id=new_id(), purpose=pb.CODE_PURPOSE_CONFIRMATION)
    with pytest.raises(PermissionDenied):
        await bff.IssueCode(request)
    with pytest.raises(PermissionDenied):
        await bff.GetContact(pb.GetContactRequest(user_id=new_id()))


async def test_nobody_is_somebody_without_a_token(bff: UsersServiceAsyncStub) -> None:
    with pytest.raises(Unauthenticated):
        await bff.GetMe(pb.GetMeRequest())
    with pytest.raises(Unauthenticated), outgoing(Outgoing(token="made.up.token")):
        await bff.GetMe(pb.GetMeRequest())


async def test_an_app_s_token_is_of_no_use_inside_and_only_the_edge_trades_it(
    users: Running, bff: UsersServiceAsyncStub, notifications: UsersServiceAsyncStub
) -> None:
    session = await a_session(bff, notifications)
    request = tokens_pb2.ExchangeTokenRequest(access_token=session.access_token)

    with outgoing(Outgoing(token=session.access_token)), pytest.raises(Unauthenticated):
        await bff.GetMe(pb.GetMeRequest())
    with pytest.raises(PermissionDenied):
        await users.stub(TokenExchangeServiceStub, workload="transfers").ExchangeToken(request)
    traded = await users.stub(TokenExchangeServiceStub).ExchangeToken(request)

    assert 0 < traded.expires_in <= 300
    with outgoing(Outgoing(token=traded.internal_token)):
        assert (await bff.GetMe(pb.GetMeRequest())).user.email == EMAIL
        with pytest.raises(Unauthenticated):
            await users.stub(UsersServiceStub, workload="transfers").GetMe(pb.GetMeRequest())


async def a_session(
    bff: UsersServiceAsyncStub, notifications: UsersServiceAsyncStub
) -> pb.CreateSessionResponse:
    user = (await bff.CreateUser(a_sign_up())).user
    issued = await notifications.IssueCode(
        pb.IssueCodeRequest(user_id=user.user_id, purpose=pb.CODE_PURPOSE_CONFIRMATION)
    )
    await bff.ConfirmUser(pb.ConfirmUserRequest(email=EMAIL, code=issued.code))
    return await bff.CreateSession(a_sign_in())
