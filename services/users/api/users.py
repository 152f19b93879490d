"""Speaks `bank.users.v1.UsersService`, and decides nothing."""

from __future__ import annotations

from dataclasses import replace
from typing import TypeVar

from bank.users.v1 import users_pb2 as pb
from mesh.chassis import Chassis
from mesh.clock import now_us
from mesh.errors import Unauthenticated
from mesh.rpc import Context, caller

from .. import credentials, domain, keys
from ..credentials import Passwords
from ..domain import Company, Failures, IssuedCode, Purpose, Session, User, passwords
from ..store import companies, users
from ..vault import Vault
from .people import PeopleApi, to_company, to_wire
from .tokens import TokenKeysApi

Tokens = TypeVar(
    "Tokens", pb.CreateSessionResponse, pb.RefreshSessionResponse, pb.StepUpSessionResponse
)

CONFIRMATION, RESET = Purpose.CONFIRMATION, Purpose.PASSWORD_RESET


class UsersApi(PeopleApi):
    """The door for people, signed in or not."""

    def __init__(
        self,
        chassis: Chassis,
        hasher: Passwords,
        tokens: TokenKeysApi,
        vault: Vault,
        shortest_password: int = 8,
    ) -> None:
        self.transact = chassis.transact
        self.read = chassis.read
        self.passwords = hasher
        self.tokens = tokens
        self.vault = vault
        self.shortest = shortest_password

    def email_key(self, email: str) -> str:
        """Gives what an address is found by."""
        return self.vault.index(domain.email_key(email))

    async def CreateUser(
        self, request: pb.CreateUserRequest, context: Context
    ) -> pb.CreateUserResponse:
        password = passwords.check(request.password, "password", request.email, self.shortest)
        company = None
        if not request.invited:
            cnpj = domain.cnpj(request.company.cnpj)
            company = Company(legal_name=request.company.legal_name, cnpj=cnpj)
        user = User(
            email=request.email,
            email_key=self.email_key(request.email),
            full_name=request.full_name,
            cpf=domain.cpf(request.cpf),
            password_hash=await self.passwords.hash(password),
        )
        await self.transact(users.sign_up, self.vault.sealed(user), company, now_us())
        return pb.CreateUserResponse(user=to_wire(user))

    async def ConfirmUser(
        self, request: pb.ConfirmUserRequest, context: Context
    ) -> pb.ConfirmUserResponse:
        code = await self.proven(request.email, CONFIRMATION, request.code)
        user = await self.transact(users.confirm, code, now_us())
        return pb.ConfirmUserResponse(user=to_wire(self.vault.opened(user)))

    async def ResendConfirmation(
        self, request: pb.ResendConfirmationRequest, context: Context
    ) -> pb.ResendConfirmationResponse:
        email_key = self.email_key(request.email)
        await self.transact(users.request_code, email_key, CONFIRMATION, now_us())
        return pb.ResendConfirmationResponse()

    async def ForgotPassword(
        self, request: pb.ForgotPasswordRequest, context: Context
    ) -> pb.ForgotPasswordResponse:
        email_key = self.email_key(request.email)
        await self.transact(users.request_code, email_key, RESET, now_us())
        return pb.ForgotPasswordResponse()

    async def ResetPassword(
        self, request: pb.ResetPasswordRequest, context: Context
    ) -> pb.ResetPasswordResponse:
        password = passwords.check(
            request.new_password, "new_password", request.email, self.shortest
        )
        code = await self.proven(request.email, RESET, request.code)
        hashed = await self.passwords.hash(password)
        await self.transact(credentials.reset_password, code, hashed, now_us())
        return pb.ResetPasswordResponse()

    async def proven(self, email: str, purpose: Purpose, text: str) -> IssuedCode:
        """Gives the code that was issued, if it is the one in `text`."""
        email_key = self.email_key(email)
        code = await self.transact(users.take_try, email_key, purpose, now_us())
        matches = await self.passwords.match(text, code.hash if code else None)
        if code is None or not matches:
            raise domain.invalid_code()
        return code

    async def CreateSession(
        self, request: pb.CreateSessionRequest, context: Context
    ) -> pb.CreateSessionResponse:
        email_key, password = self.email_key(request.email), passwords.normal(request.password)
        user, failures = await self.read(users.find_login, email_key)
        failures.must_be_over(now_us())
        matches = await self.passwords.match(password, user.password_hash if user else None)
        token = credentials.new_refresh_token()
        try:
            opened = self.vault.opened(user) if user and matches else user
            session = domain.sign_in(opened, matches, request.totp, now_us())
            session = self.on_device(session, request)
            await self.transact(credentials.open_session, session, token)
        except Unauthenticated:
            await self.transact(users.note_failure, email_key, now_us())
            raise
        await self.renew_hash(user, password)
        return await self.answer(pb.CreateSessionResponse(refresh_token=token), session)

    def on_device(self, session: Session, request: pb.CreateSessionRequest) -> Session:
        """Gives a session its device, and its recovery code as that is kept."""
        name = request.device_name
        return replace(
            self.with_recovery(session),
            device_key=self.vault.index(f"{session.user_id} {request.device_id}"),
            device=self.vault.seal(name, f"{session.user_id} device") if name else "",
        )

    def with_recovery(self, session: Session) -> Session:
        if not session.recovery:
            return session
        return replace(session, recovery=self.recovery(session.user_id, session.recovery))

    def recovery(self, user_id: str, code: str) -> str:
        """Gives what is kept of a recovery code."""
        return self.vault.index(f"{user_id} {domain.recovery_code(code)}")

    async def renew_hash(self, user: User | None, password: str) -> None:
        """Hashes the password again when hashes have come to cost more since."""
        if user and self.passwords.is_outdated(user.password_hash):
            renewed = await self.passwords.hash(password)
            await self.transact(users.renew_hash, user, renewed)

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
        key = await self.tokens.signing()
        response.access_token = keys.access_token(session, key, now_us())
        response.token_type = "Bearer"  # noqa: S105 - the word of RFC 6750
        response.expires_in = keys.ACCESS_TOKEN_LIFE_S
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
        now = now_us()
        session, user, failures = await self.session(now)
        failures.must_be_over(now)
        try:
            proven = domain.step_up(self.vault.opened(user), session, request.totp, now)
            await self.transact(credentials.keep_step_up, self.with_recovery(proven))
        except Unauthenticated:
            await self.transact(users.note_failure, user.email_key, now)
            raise
        return await self.answer(pb.StepUpSessionResponse(), proven)

    async def session(self, now: int) -> tuple[Session, User, Failures]:
        """Gets the session of the call, its user, and their failed tries."""
        session_id = caller().must_be_user().session_id
        return await self.read(credentials.live_session, session_id, now)

    async def me(self) -> User:
        """Gets the signed-in user, if the session still is."""
        session_id = caller().must_be_user().session_id
        return await self.read(credentials.signed_in, session_id, now_us())

    async def GetMe(self, request: pb.GetMeRequest, context: Context) -> pb.GetMeResponse:
        user = self.vault.opened(await self.me())
        known = await self.read(companies.of_user, user.id)
        return pb.GetMeResponse(
            user=to_wire(user),
            companies=[to_company(company, role) for company, role in known],
            totp_enabled=user.totp_is_enabled,
        )

    async def CreateTotp(
        self, request: pb.CreateTotpRequest, context: Context
    ) -> pb.CreateTotpResponse:
        user, secret = await self.me(), domain.new_totp_secret()
        sealed = self.vault.totp_secret(user, secret)
        await self.transact(users.keep_totp_secret, user.id, sealed)
        uri = domain.totp_uri(secret, self.vault.opened(user).email)
        return pb.CreateTotpResponse(secret=secret, provisioning_uri=uri)

    async def ConfirmTotp(
        self, request: pb.ConfirmTotpRequest, context: Context
    ) -> pb.ConfirmTotpResponse:
        user, now = await self.me(), now_us()
        step = self.vault.opened(user).enrolment_step(request.code, now)
        session_id, codes = caller().must_be_user().session_id, domain.new_recovery_codes()
        kept = [self.recovery(user.id, code) for code in codes]
        await self.transact(credentials.enable_totp, session_id, user, step, kept, now)
        return pb.ConfirmTotpResponse(recovery_codes=codes)

    async def CreateRecoveryCodes(
        self, request: pb.CreateRecoveryCodesRequest, context: Context
    ) -> pb.CreateRecoveryCodesResponse:
        user, codes = await self.me(), domain.new_recovery_codes()
        kept = [self.recovery(user.id, code) for code in codes]
        await self.transact(credentials.keep_recovery_codes, user.id, kept)
        return pb.CreateRecoveryCodesResponse(recovery_codes=codes)

    async def DeleteTotp(
        self, request: pb.DeleteTotpRequest, context: Context
    ) -> pb.DeleteTotpResponse:
        user = await self.me()
        await self.transact(credentials.remove_totp, user.id)
        return pb.DeleteTotpResponse()

    async def ChangePassword(
        self, request: pb.ChangePasswordRequest, context: Context
    ) -> pb.ChangePasswordResponse:
        now = now_us()
        session, user, failures = await self.session(now)
        failures.must_be_over(now)
        email = self.vault.opened(user).email
        chosen = passwords.check(request.new_password, "new_password", email, self.shortest)
        current = passwords.normal(request.current_password)
        if not await self.passwords.match(current, user.password_hash):
            await self.transact(users.note_failure, user.email_key, now)
            raise domain.wrong_password()
        hashed = await self.passwords.hash(chosen)
        await self.transact(credentials.change_password, user, session.id, hashed, now)
        return pb.ChangePasswordResponse()

    async def IssueCode(
        self, request: pb.IssueCodeRequest, context: Context
    ) -> pb.IssueCodeResponse:
        purpose = Purpose[pb.CodePurpose.Name(request.purpose).removeprefix("CODE_PURPOSE_")]
        user = await self.read(users.get_user, request.user_id)
        user.must_need(purpose)
        text, user = credentials.new_code(), self.vault.opened(user)
        code = IssuedCode(user.id, purpose, await self.passwords.hash(text))
        await self.transact(users.keep_code, code, now_us())
        return pb.IssueCodeResponse(email=user.email, full_name=user.full_name, code=text)

    async def GetContact(
        self, request: pb.GetContactRequest, context: Context
    ) -> pb.GetContactResponse:
        user = self.vault.opened(await self.read(users.get_user, request.user_id))
        if not user.sealed_key:
            raise domain.no_user()
        return pb.GetContactResponse(email=user.email, full_name=user.full_name)
