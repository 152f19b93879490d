"""What a signed-in user sees and changes of themselves."""

from __future__ import annotations

from google.protobuf.timestamp_pb2 import Timestamp

from bank.users.v1 import users_pb2 as pb
from bank.users.v1.users_pb2_grpc import UsersServiceServicer
from mesh.auth import require_step_up
from mesh.auth.step_up import STEP_UP_S
from mesh.chassis import Chassis
from mesh.clock import now_us
from mesh.rpc import Context, caller

from .. import credentials, domain
from ..domain import SECOND_US, Company, Role, Session, User
from ..store import people
from ..vault import Vault


class PeopleApi(UsersServiceServicer):
    """The part of the door that is about who one is, not about how one proves it."""

    vault: Vault

    def __init__(self, chassis: Chassis) -> None:
        self.transact = chassis.transact
        self.read = chassis.read

    async def ListSessions(
        self, request: pb.ListSessionsRequest, context: Context
    ) -> pb.ListSessionsResponse:
        me = caller().must_be_user()
        sessions = await self.read(credentials.live_sessions, me.user_id, now_us())
        return pb.ListSessionsResponse(sessions=[self.to_session(each) for each in sessions])

    async def DeleteSession(
        self, request: pb.DeleteSessionRequest, context: Context
    ) -> pb.DeleteSessionResponse:
        me = caller().must_be_user()
        await self.transact(credentials.revoke, me.user_id, request.session_id, now_us())
        return pb.DeleteSessionResponse()

    async def ExportMe(self, request: pb.ExportMeRequest, context: Context) -> pb.ExportMeResponse:
        me = caller().must_be_user()
        kept, companies, sessions, devices = await self.read(
            people.everything, me.user_id, now_us()
        )
        user = self.vault.opened(kept)
        return pb.ExportMeResponse(
            user=to_wire(user),
            cpf=user.cpf,
            signed_up_at=to_time(user.created_at_us),
            totp_enabled=user.totp_is_enabled,
            companies=[to_company(company, role) for company, role in companies],
            sessions=[self.to_session(each) for each in sessions],
            devices=[
                pb.Device(
                    device_name=self.device(user.id, each.name),
                    first_seen_at=to_time(each.first_seen_us),
                    last_seen_at=to_time(each.last_seen_us),
                )
                for each in devices
            ],
        )

    async def DeleteMe(self, request: pb.DeleteMeRequest, context: Context) -> pb.DeleteMeResponse:
        now, me = now_us(), caller().must_be_user()
        session, user, _ = await self.read(credentials.live_session, me.session_id, now)
        if user.totp_is_enabled:
            require_step_up(me, now=now / SECOND_US)
        elif session.began_at_us < now - STEP_UP_S * SECOND_US:
            raise domain.sign_in_again()
        await self.transact(people.erase, me.user_id, now)
        return pb.DeleteMeResponse()

    def to_session(self, session: Session) -> pb.Session:
        return pb.Session(
            session_id=session.id,
            device_name=self.device(session.user_id, session.device),
            began_at=to_time(session.began_at_us),
            last_seen_at=to_time(session.last_seen_us or session.began_at_us),
            current=session.id == caller().must_be_user().session_id,
        )

    def device(self, user_id: str, sealed: str) -> str:
        return self.vault.open(sealed, f"{user_id} device") if sealed else ""


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


def to_time(us: int) -> Timestamp:
    time = Timestamp()
    time.FromMicroseconds(us)
    return time
