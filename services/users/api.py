"""Speaks `bank.users.v1` and `meshapi.v1.TokenKeysService`, and decides nothing."""

from __future__ import annotations

from typing import TypeVar

from google.protobuf.json_format import ParseDict
from joserfc.jwk import ECKey

from bank.users.v1 import users_pb2 as pb
from bank.users.v1.users_pb2_grpc import UsersServiceServicer
from mesh.auth.keys import TokenKeys
from mesh.auth.tokens import TokenVerifier
from mesh.chassis import Chassis
from mesh.clock import now_us
from mesh.errors import Unauthenticated
from mesh.rpc import Context, caller
from meshapi.v1 import tokens_pb2
from meshapi.v1.tokens_pb2_grpc import TokenExchangeServiceServicer, TokenKeysServiceServicer

from . import credentials, domain, store
from .credentials import ACCESS_TOKEN_LIFE_S, INTERNAL_TOKEN_LIFE_S, Passwords
from .domain import SECOND_US, Company, IssuedCode, Purpose, Role, Session, User

Tokens = TypeVar(
    "Tokens", pb.CreateSessionResponse, pb.RefreshSessionResponse, pb.StepUpSessionResponse
)

CONFIRMATION, RESET = Purpose.CONFIRMATION, Purpose.PASSWORD_RESET


class TokenKeysApi(TokenKeysServiceServicer):
    """Keeps the keys that sign tokens to itself, and shows what verifies them."""

    def __init__(self, chassis: Chassis) -> None:
        self.transact = chassis.transact
        self.read = chassis.read

    async def keys(self) -> list[ECKey]:
        known = await self.read(credentials.signing_keys)
        return known or await self.transact(credentials.add_first_key, now_us())

    async def public_keys(self) -> list[tokens_pb2.TokenKey]:
        return [to_jwk(key) for key in await self.keys()]

    async def ListTokenKeys(
        self, request: tokens_pb2.ListTokenKeysRequest, context: Context
    ) -> tokens_pb2.ListTokenKeysResponse:
        return tokens_pb2.ListTokenKeysResponse(keys=await self.public_keys())


class TokenExchangeApi(TokenExchangeServiceServicer):
    """Trades what an app shows at the edge for what the edge may show inside."""

    def __init__(self, chassis: Chassis, tokens: TokenKeysApi) -> None:
        self.read = chassis.read
        self.tokens = tokens
        self.verifier = TokenVerifier(TokenKeys(tokens.public_keys))

    async def ExchangeToken(
        self, request: tokens_pb2.ExchangeTokenRequest, context: Context
    ) -> tokens_pb2.ExchangeTokenResponse:
        user, expires_at_s = await self.verifier.verify_access(request.access_token)
        now = now_us()
        await self.read(credentials.signed_in, user.session_id, now)
        key, *_ = await self.tokens.keys()
        life_s = min(int(expires_at_s) - now // SECOND_US, INTERNAL_TOKEN_LIFE_S)
        return tokens_pb2.ExchangeTokenResponse(
            internal_token=credentials.internal_token(user, caller().workload, key, now, life_s),
            expires_in=life_s,
        )


class UsersApi(UsersServiceServicer):
    """The door for people, signed in or not."""

    def __init__(self, chassis: Chassis, passwords: Passwords, tokens: TokenKeysApi) -> None:
        self.transact = chassis.transact
        self.read = chassis.read
        self.passwords = passwords
        self.tokens = tokens

    async def CreateUser(
        self, request: pb.CreateUserRequest, context: Context
    ) -> pb.CreateUserResponse:
        password = domain.password(request.password, "password", request.email)
        cnpj = domain.cnpj(request.company.cnpj)
        user = User(
            email=request.email,
            full_name=request.full_name,
            cpf=domain.cpf(request.cpf),
            password_hash=await self.passwords.hash(password),
        )
        company = Company(legal_name=request.company.legal_name, cnpj=cnpj)
        await self.transact(store.sign_up, user, company, now_us())
        return pb.CreateUserResponse(user=to_wire(user))

    async def ConfirmUser(
        self, request: pb.ConfirmUserRequest, context: Context
    ) -> pb.ConfirmUserResponse:
        code = await self.proven(request.email, CONFIRMATION, request.code)
        user = await self.transact(store.confirm, code, now_us())
        return pb.ConfirmUserResponse(user=to_wire(user))

    async def ResendConfirmation(
        self, request: pb.ResendConfirmationRequest, context: Context
    ) -> pb.ResendConfirmationResponse:
        email_key = domain.email_key(request.email)
        await self.transact(store.request_code, email_key, CONFIRMATION, now_us())
        return pb.ResendConfirmationResponse()

    async def ForgotPassword(
        self, request: pb.ForgotPasswordRequest, context: Context
    ) -> pb.ForgotPasswordResponse:
        email_key = domain.email_key(request.email)
        await self.transact(store.request_code, email_key, RESET, now_us())
        return pb.ForgotPasswordResponse()

    async def ResetPassword(
        self, request: pb.ResetPasswordRequest, context: Context
    ) -> pb.ResetPasswordResponse:
        password = domain.password(request.new_password, "new_password", request.email)
        code = await self.proven(request.email, RESET, request.code)
        hashed = await self.passwords.hash(password)
        await self.transact(credentials.reset_password, code, hashed, now_us())
        return pb.ResetPasswordResponse()

    async def proven(self, email: str, purpose: Purpose, text: str) -> IssuedCode:
        """Gives the code that was issued, if it is the one in `text`."""
        email_key = domain.email_key(email)
        code = await self.transact(store.take_try, email_key, purpose, now_us())
        matches = await self.passwords.match(text, code.hash if code else None)
        if code is None or not matches:
            raise domain.invalid_code()
        return code

    async def CreateSession(
        self, request: pb.CreateSessionRequest, context: Context
    ) -> pb.CreateSessionResponse:
        email_key, password = domain.email_key(request.email), domain.normal(request.password)
        user, failures = await self.read(store.find_login, email_key)
        failures.must_be_over(now_us())
        matches = await self.passwords.match(password, user.password_hash if user else None)
        try:
            session = domain.sign_in(user, matches, request.totp, now_us())
        except Unauthenticated:
            await self.transact(store.note_failure, email_key, now_us())
            raise
        await self.renew_hash(user, password)
        token = credentials.new_refresh_token()
        await self.transact(credentials.open_session, session, token)
        return await self.answer(pb.CreateSessionResponse(refresh_token=token), session)

    async def renew_hash(self, user: User | None, password: str) -> None:
        """Hashes the password again when hashes have come to cost more since."""
        if user and self.passwords.is_outdated(user.password_hash):
            renewed = await self.passwords.hash(password)
            await self.transact(store.renew_hash, user, renewed)

    async def RefreshSession(
        self, request: pb.RefreshSessionRequest, context: Context
    ) -> pb.RefreshSessionResponse:
        token = credentials.new_refresh_token()
        session = await self.transact(credentials.trade, request.refresh_token, token, now_us())
        if session is None:
            raise domain.invalid_refresh_token()
        return await self.answer(pb.RefreshSessionResponse(refresh_token=token), session)

    async def answer(self, response: Tokens, session: Session) -> Tokens:
        """Fills in the access token of a session."""
        key, *_ = await self.tokens.keys()
        response.access_token = credentials.access_token(session, key, now_us())
        response.token_type = "Bearer"  # noqa: S105 - the word of RFC 6750
        response.expires_in = ACCESS_TOKEN_LIFE_S
        return response

    async def DeleteCurrentSession(
        self, request: pb.DeleteCurrentSessionRequest, context: Context
    ) -> pb.DeleteCurrentSessionResponse:
        me = caller().must_be_user()
        await self.transact(credentials.revoke, me.user_id, me.session_id, now_us())
        return pb.DeleteCurrentSessionResponse()

    async def DeleteSessions(
        self, request: pb.DeleteSessionsRequest, context: Context
    ) -> pb.DeleteSessionsResponse:
        me = caller().must_be_user()
        await self.transact(credentials.revoke_all, me.user_id, now_us())
        return pb.DeleteSessionsResponse()

    async def StepUpSession(
        self, request: pb.StepUpSessionRequest, context: Context
    ) -> pb.StepUpSessionResponse:
        session_id, now = caller().must_be_user().session_id, now_us()
        session, user, failures = await self.read(credentials.live_session, session_id, now)
        failures.must_be_over(now)
        try:
            proven = domain.step_up(user, session, request.totp, now)
        except Unauthenticated:
            await self.transact(store.note_failure, domain.email_key(user.email), now)
            raise
        await self.transact(credentials.keep_step_up, proven)
        return await self.answer(pb.StepUpSessionResponse(), proven)

    async def me(self) -> User:
        """Gets the signed-in user, if the session still is."""
        session_id = caller().must_be_user().session_id
        return await self.read(credentials.signed_in, session_id, now_us())

    async def GetMe(self, request: pb.GetMeRequest, context: Context) -> pb.GetMeResponse:
        user = await self.me()
        companies = await self.read(store.companies_of, user.id)
        return pb.GetMeResponse(
            user=to_wire(user),
            companies=[to_company(company, role) for company, role in companies],
            totp_enabled=user.totp_is_enabled,
        )

    async def CreateTotp(
        self, request: pb.CreateTotpRequest, context: Context
    ) -> pb.CreateTotpResponse:
        user, secret = await self.me(), domain.new_totp_secret()
        await self.transact(store.keep_totp_secret, user.id, secret)
        uri = domain.totp_uri(secret, user.email)
        return pb.CreateTotpResponse(secret=secret, provisioning_uri=uri)

    async def ConfirmTotp(
        self, request: pb.ConfirmTotpRequest, context: Context
    ) -> pb.ConfirmTotpResponse:
        user, now = await self.me(), now_us()
        step = user.enrolment_step(request.code, now)
        session_id = caller().must_be_user().session_id
        await self.transact(credentials.enable_totp, session_id, user, step, now)
        return pb.ConfirmTotpResponse()

    async def IssueCode(
        self, request: pb.IssueCodeRequest, context: Context
    ) -> pb.IssueCodeResponse:
        purpose = Purpose[pb.CodePurpose.Name(request.purpose).removeprefix("CODE_PURPOSE_")]
        user = await self.read(store.get_user, request.user_id)
        user.must_need(purpose)
        text = credentials.new_code()
        code = IssuedCode(user.id, purpose, await self.passwords.hash(text))
        await self.transact(store.keep_code, code, now_us())
        return pb.IssueCodeResponse(email=user.email, full_name=user.full_name, code=text)

    async def GetContact(
        self, request: pb.GetContactRequest, context: Context
    ) -> pb.GetContactResponse:
        user = await self.read(store.get_user, request.user_id)
        return pb.GetContactResponse(email=user.email, full_name=user.full_name)


def to_wire(user: User) -> pb.User:
    return pb.User(
        user_id=user.id,
        email=user.email,
        status=pb.UserStatus.Value(f"USER_STATUS_{user.status.name}"),
        full_name=user.full_name,
    )


def to_company(company: Company, role: Role) -> pb.Company:
    return pb.Company(
        company_id=company.id,
        legal_name=company.legal_name,
        role=pb.Role.Value(f"ROLE_{role.name}"),
    )


def to_jwk(key: ECKey) -> tokens_pb2.TokenKey:
    return ParseDict(key.as_dict(private=False), tokens_pb2.TokenKey())
