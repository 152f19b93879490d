"""The users service on a real database, and people who use it, in few words."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar, cast

import pyotp
from google.protobuf.message import Message

from bank.users.v1 import companies_pb2
from bank.users.v1 import users_pb2 as pb
from mesh.auth.keys import TokenKeys
from mesh.auth.tokens import TokenVerifier
from mesh.chassis import Chassis
from mesh.db import Database, Row, UnitOfWork, sql
from mesh.rpc import Caller, Context, User
from mesh.rpc.context import Outgoing, outgoing
from meshapi.v1 import tokens_pb2
from services.users import tables
from services.users.api.api_keys import ApiKeysApi
from services.users.api.companies import CompaniesApi
from services.users.api.holders import HoldersApi
from services.users.api.staff import StaffApi
from services.users.api.tokens import TokenExchangeApi, TokenKeysApi
from services.users.api.users import UsersApi
from services.users.credentials import Argon2Settings, Passwords
from services.users.vault import Vault

VERSIONS = Path(tables.__file__).parent / "migrations"

EMAIL = "Ana@Example.com"
PASSWORD = "correct horse battery"
CPF = "529.982.247-25"
CNPJ = "16.727.230/0001-97"

# No method looks at it.
CONTEXT = cast(Context, None)

T = TypeVar("T")
M = TypeVar("M", bound=Message)


def cheap(**settings: int) -> Passwords:
    return Passwords(Argon2Settings(memory_kib=64, time_cost=1, **settings))


class Clock:
    """A clock that stands still until it is told to go on."""

    def __init__(self) -> None:
        self.us = 1_800_000_000_000_000

    def __call__(self) -> int:
        return self.us

    def go_on(self, us: int) -> None:
        self.us += us


class Users:
    def __init__(self, database: Database, clock: Clock) -> None:
        self.database = database
        self.clock = clock
        # Of what a chassis gives, the door needs the two that the database has too.
        chassis = cast(Chassis, database)
        self.vault = Vault(b"a master key of the tests, all of it")
        self.keys = TokenKeysApi(chassis, self.vault)
        self.api = UsersApi(chassis, cheap(), self.keys, self.vault)
        self.companies = CompaniesApi(chassis, self.vault)
        self.api_keys = ApiKeysApi(chassis)
        self.exchange = TokenExchangeApi(chassis, self.keys)
        self.holders = HoldersApi(chassis, self.vault)
        self.staff = StaffApi(chassis, self.vault, self.keys)
        self.verifier = TokenVerifier(TokenKeys(self.token_keys), clock=lambda: clock.us / 1e6)

    async def token_keys(self) -> Sequence[tokens_pb2.TokenKey]:
        answer = await self.keys.ListTokenKeys(tokens_pb2.ListTokenKeysRequest(), CONTEXT)
        return answer.keys

    async def sign_up(self, email: str = EMAIL, **changes: Any) -> pb.User:
        request = pb.CreateUserRequest(
            email=email,
            password=changes.get("password", PASSWORD),
            full_name="Ana Lima",
            cpf=changes.get("cpf", CPF),
            company=pb.NewCompany(legal_name="Ana Lima ME", cnpj=changes.get("cnpj", CNPJ)),
        )
        return (await self.api.CreateUser(request, CONTEXT)).user

    async def code(self, user_id: str, purpose: str = "CONFIRMATION") -> str:
        value = pb.CodePurpose.Value(f"CODE_PURPOSE_{purpose}")
        request = pb.IssueCodeRequest(user_id=user_id, purpose=value)
        return (await self.api.IssueCode(request, CONTEXT)).code

    async def confirm(self, code: str, email: str = EMAIL) -> pb.User:
        request = pb.ConfirmUserRequest(email=email, code=code)
        return (await self.api.ConfirmUser(request, CONTEXT)).user

    async def confirmed(self, email: str = EMAIL) -> str:
        user = await self.sign_up(email)
        await self.confirm(await self.code(user.user_id), email)
        return user.user_id

    async def reset(self, code: str, password: str, email: str = EMAIL) -> None:
        request = pb.ResetPasswordRequest(email=email, code=code, new_password=password)
        await self.api.ResetPassword(request, CONTEXT)

    async def sign_in(
        self, password: str = PASSWORD, email: str = EMAIL, totp: str = "", device: str = ""
    ) -> pb.CreateSessionResponse:
        request = pb.CreateSessionRequest(
            email=email, password=password, totp=totp, device_id=device, device_name=device
        )
        return await self.api.CreateSession(request, CONTEXT)

    async def refresh(self, token: str) -> pb.RefreshSessionResponse:
        request = pb.RefreshSessionRequest(refresh_token=token)
        return await self.api.RefreshSession(request, CONTEXT)

    async def user_of(self, access_token: str) -> User:
        user, _ = await self.verifier.verify_access(access_token)
        return user

    async def call(
        self, method: Callable[[Any, Context], Awaitable[T]], request: Message, token: str
    ) -> T:
        """Calls a method as the user whom a token names."""
        with as_user(await self.user_of(token)):
            return await method(request, CONTEXT)

    async def me(self, token: str) -> pb.GetMeResponse:
        return await self.call(self.api.GetMe, pb.GetMeRequest(), token)

    async def sign_out(self, token: str) -> None:
        await self.call(self.api.DeleteCurrentSession, pb.DeleteCurrentSessionRequest(), token)

    async def sign_out_everywhere(self, token: str) -> None:
        await self.call(self.api.DeleteSessions, pb.DeleteSessionsRequest(), token)

    async def begin_totp(self, token: str) -> pb.CreateTotpResponse:
        return await self.call(self.api.CreateTotp, pb.CreateTotpRequest(), token)

    async def confirm_totp(self, token: str, code: str) -> None:
        await self.call(self.api.ConfirmTotp, pb.ConfirmTotpRequest(code=code), token)

    async def step_up(self, token: str, totp: str) -> str:
        request = pb.StepUpSessionRequest(totp=totp)
        return (await self.call(self.api.StepUpSession, request, token)).access_token

    async def enrol(self, token: str) -> tuple[pyotp.TOTP, list[str]]:
        """Enrols an app; gives it, and the recovery codes."""
        app = pyotp.TOTP((await self.begin_totp(token)).secret)
        request = pb.ConfirmTotpRequest(code=app.at(self.clock.us // 1_000_000))
        answer = await self.call(self.api.ConfirmTotp, request, token)
        return app, list(answer.recovery_codes)

    async def sessions(self, token: str) -> list[pb.Session]:
        answer = await self.call(self.api.ListSessions, pb.ListSessionsRequest(), token)
        return list(answer.sessions)

    async def company(self, token: str) -> str:
        """The id of the company that a user has opened."""
        return (await self.me(token)).companies[0].company_id

    async def invite(self, token: str, company_id: str, email: str, role: str) -> str:
        """Invites somebody; gives the code that they are sent."""
        request = companies_pb2.CreateInvitationRequest(
            company_id=company_id, email=email, role=pb.Role.Value(f"ROLE_{role}")
        )
        with as_user(await self.user_of(token), {"owner"}):
            answer = await self.companies.CreateInvitation(request, CONTEXT)
        issue = companies_pb2.IssueInvitationRequest(invitation_id=answer.invitation.invitation_id)
        return (await self.companies.IssueInvitation(issue, CONTEXT)).code

    async def accept(self, token: str, code: str) -> pb.Company:
        request = companies_pb2.AcceptInvitationRequest(code=code)
        return (await self.call(self.companies.AcceptInvitation, request, token)).company

    async def members(self, token: str, company_id: str) -> dict[str, int]:
        request = companies_pb2.ListMembersRequest(company_id=company_id)
        answer = await self.call(self.companies.ListMembers, request, token)
        return {member.user_id: member.role for member in answer.members}

    async def change(self, token: str, company_id: str, user_id: str, role: str) -> None:
        request = companies_pb2.UpdateMemberRequest(
            company_id=company_id, user_id=user_id, role=pb.Role.Value(f"ROLE_{role}")
        )
        with as_user(await self.user_of(token), {"owner"}):
            await self.companies.UpdateMember(request, CONTEXT)

    async def remove(self, token: str, company_id: str, user_id: str) -> None:
        request = companies_pb2.DeleteMemberRequest(company_id=company_id, user_id=user_id)
        await self.call(self.companies.DeleteMember, request, token)

    async def erase(self, token: str) -> None:
        await self.call(self.api.DeleteMe, pb.DeleteMeRequest(), token)

    async def rows(self, text: str, **parameters: object) -> list[Row]:
        async def unit(work: UnitOfWork) -> list[Row]:
            return await work.fetch_all(sql(text), **parameters)

        return await self.database.read(unit)

    async def told(self) -> list[str]:
        """Names what was told, in order, with its key's version."""
        rows = await self.rows("SELECT type, version FROM outbox ORDER BY id")
        return [f"{row['type'].rpartition('.')[2]} {row['version']}" for row in rows]

    async def last_told(self, kind: type[M]) -> M:
        rows = await self.rows(
            "SELECT payload FROM outbox WHERE type = :type ORDER BY id DESC LIMIT 1",
            type=kind.DESCRIPTOR.full_name,
        )
        return kind.FromString(bytes(rows[0]["payload"]))

    async def everything_kept(self) -> str:
        """Gives all that is in the database, as text."""
        names = [*tables.Table.metadata.tables, "outbox", "sagas"]
        rows = [row for table in names for row in await self.rows(f"SELECT * FROM {table}")]
        return str([tuple(dict(row).values()) for row in rows])


@contextmanager
def as_user(user: User, roles: Iterable[str] = ()) -> Iterator[None]:
    with outgoing(Outgoing(caller=Caller("bff", user, frozenset(roles)))):
        yield
