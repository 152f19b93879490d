"""Speaks `bank.users.v1.CompaniesService`: who may act for a company, and as what."""

from __future__ import annotations

from bank.users.v1 import companies_pb2 as pb
from bank.users.v1 import users_pb2
from bank.users.v1.companies_pb2_grpc import CompaniesServiceServicer
from mesh.chassis import Chassis
from mesh.clock import now_us
from mesh.ids import new_id
from mesh.rpc import Context, caller

from .. import credentials, domain
from ..domain import Invitation, Role
from ..store import companies, users
from ..vault import Vault
from .people import to_company, to_time


class CompaniesApi(CompaniesServiceServicer):
    """The door to a company's members and invitations."""

    def __init__(self, chassis: Chassis, vault: Vault) -> None:
        self.transact = chassis.transact
        self.read = chassis.read
        self.vault = vault

    async def must_be_member(self, company_id: str) -> str:
        """Gives the user's id, if they act for the company and their role allows the call."""
        me = caller().must_be_user()
        role = await self.read(companies.role_of, company_id, me.user_id)
        caller().must_be(role.value)
        return me.user_id

    async def ListMembers(
        self, request: pb.ListMembersRequest, context: Context
    ) -> pb.ListMembersResponse:
        await self.must_be_member(request.company_id)
        members = await self.read(companies.members, request.company_id)
        found = [await self.member(user_id, role) for user_id, role in members]
        return pb.ListMembersResponse(members=found)

    async def member(self, user_id: str, role: Role) -> pb.Member:
        user = self.vault.opened(await self.read(users.get_user, user_id))
        wire = users_pb2.Role.Value(f"ROLE_{role.name}")
        return pb.Member(user_id=user_id, full_name=user.full_name, role=wire)

    async def UpdateMember(
        self, request: pb.UpdateMemberRequest, context: Context
    ) -> pb.UpdateMemberResponse:
        await self.must_be_member(request.company_id)
        company_id, user_id, role = request.company_id, request.user_id, role_of(request.role)
        await self.transact(companies.change_member, company_id, user_id, role)
        return pb.UpdateMemberResponse(member=await self.member(user_id, role))

    async def DeleteMember(
        self, request: pb.DeleteMemberRequest, context: Context
    ) -> pb.DeleteMemberResponse:
        me = caller().must_be_user()
        role = await self.read(companies.role_of, request.company_id, me.user_id)
        if request.user_id != me.user_id and role is not Role.OWNER:
            raise domain.owners_only()
        await self.transact(companies.remove_member, request.company_id, request.user_id)
        return pb.DeleteMemberResponse()

    async def CreateInvitation(
        self, request: pb.CreateInvitationRequest, context: Context
    ) -> pb.CreateInvitationResponse:
        await self.must_be_member(request.company_id)
        now, invitation_id = now_us(), new_id()
        invitation = Invitation(
            id=invitation_id,
            company_id=request.company_id,
            email=self.vault.seal(request.email, f"{invitation_id} email"),
            email_key=self.vault.index(domain.email_key(request.email)),
            role=role_of(request.role),
            expires_at_us=now + domain.INVITATION_LIFE_US,
        )
        await self.transact(companies.invite, invitation, now)
        return pb.CreateInvitationResponse(invitation=self.to_wire(invitation))

    async def ListInvitations(
        self, request: pb.ListInvitationsRequest, context: Context
    ) -> pb.ListInvitationsResponse:
        await self.must_be_member(request.company_id)
        found = await self.read(companies.invitations, request.company_id, now_us())
        return pb.ListInvitationsResponse(invitations=[self.to_wire(each) for each in found])

    async def DeleteInvitation(
        self, request: pb.DeleteInvitationRequest, context: Context
    ) -> pb.DeleteInvitationResponse:
        await self.must_be_member(request.company_id)
        await self.transact(companies.withdraw, request.company_id, request.invitation_id)
        return pb.DeleteInvitationResponse()

    async def AcceptInvitation(
        self, request: pb.AcceptInvitationRequest, context: Context
    ) -> pb.AcceptInvitationResponse:
        now, session_id = now_us(), caller().must_be_user().session_id
        user = await self.read(credentials.signed_in, session_id, now)
        code = credentials.digest(request.code)
        company, role = await self.transact(companies.accept, user.id, user.email_key, code, now)
        return pb.AcceptInvitationResponse(company=to_company(company, role))

    async def IssueInvitation(
        self, request: pb.IssueInvitationRequest, context: Context
    ) -> pb.IssueInvitationResponse:
        code = credentials.new_invitation_code()
        invitation, company = await self.transact(
            companies.issue, request.invitation_id, credentials.digest(code), now_us()
        )
        return pb.IssueInvitationResponse(
            email=self.address(invitation), legal_name=company.legal_name, code=code
        )

    def address(self, invitation: Invitation) -> str:
        return self.vault.open(invitation.email, f"{invitation.id} email")

    def to_wire(self, invitation: Invitation) -> pb.Invitation:
        return pb.Invitation(
            invitation_id=invitation.id,
            company_id=invitation.company_id,
            email=self.address(invitation),
            role=users_pb2.Role.Value(f"ROLE_{invitation.role.name}"),
            expires_at=to_time(invitation.expires_at_us),
        )


def role_of(role: users_pb2.Role.ValueType) -> Role:
    return Role[users_pb2.Role.Name(role).removeprefix("ROLE_")]
