"""The users service, as this one sees it: where somebody is reached."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bank.users.v1 import users_pb2 as pb
from bank.users.v1.companies_pb2 import IssueInvitationRequest
from mesh.clock import now_us

from ..domain.messages import Contact, Kind, Message

if TYPE_CHECKING:
    from bank.users.v1.companies_pb2_grpc import CompaniesServiceAsyncStub
    from bank.users.v1.users_pb2_grpc import UsersServiceAsyncStub

# A user who pays often is not looked up for each payment; a new address counts after a minute.
CONTACT_LIFE_US = 60_000_000
CONTACTS_KEPT = 10_000


class People:
    """Knows where people are reached. Raises `NotFound` for who is not, or not any more."""

    def __init__(self, users: UsersServiceAsyncStub, companies: CompaniesServiceAsyncStub) -> None:
        self.users = users
        self.companies = companies
        self.contacts: dict[str, tuple[Contact, int]] = {}

    async def contact(self, message: Message) -> Contact:
        """Tells where the user of a message is reached, with the code that it carries, if any."""
        return await (self.code_for if message.needs_code else self.contact_of)(message)

    async def code_for(self, message: Message) -> Contact:
        """Has a code issued: it exists in the e-mail, and nowhere before."""
        if message.kind is Kind.INVITATION:
            return await self.invited(message.user_id)
        purpose = pb.CodePurpose.Value(f"CODE_PURPOSE_{message.kind}")
        issued = await self.users.IssueCode(
            pb.IssueCodeRequest(user_id=message.user_id, purpose=purpose)
        )
        return Contact(issued.email, issued.full_name, issued.code)

    async def invited(self, invitation_id: str) -> Contact:
        request = IssueInvitationRequest(invitation_id=invitation_id)
        issued = await self.companies.IssueInvitation(request)
        return Contact(issued.email, "", issued.code)

    async def contact_of(self, message: Message) -> Contact:
        known, until_us = self.contacts.get(message.user_id, (None, 0))
        if known and now_us() < until_us:
            return known
        answer = await self.users.GetContact(pb.GetContactRequest(user_id=message.user_id))
        contact = Contact(answer.email, answer.full_name)
        if len(self.contacts) >= CONTACTS_KEPT:
            self.contacts.clear()
        self.contacts[message.user_id] = contact, now_us() + CONTACT_LIFE_US
        return contact
