"""The users service, as this one sees it, and the mailbox in place of a mail provider."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from bank.users.v1 import users_pb2 as pb
from bank.users.v1.companies_pb2 import IssueInvitationRequest
from mesh.clock import now_us
from mesh.errors import Transient

from .domain import Contact, Kind, Mail, Message

if TYPE_CHECKING:
    from bank.users.v1.companies_pb2_grpc import CompaniesServiceAsyncStub
    from bank.users.v1.users_pb2_grpc import UsersServiceAsyncStub

# A user who pays often is not looked up for each payment; a new address counts after a minute.
CONTACT_LIFE_US = 60_000_000
CONTACTS_KEPT = 10_000


class NoMailer:
    """In production, while there is no provider: messages wait, and codes lie in no mailbox."""

    async def deliver(self, message: Message) -> None:
        raise Transient("NO_MAIL_PROVIDER", "There is nobody to send e-mails yet.")


class MailboxMailer:
    """Writes e-mails into the development mailbox: `keep` puts one there."""

    def __init__(
        self,
        users: UsersServiceAsyncStub,
        companies: CompaniesServiceAsyncStub,
        keep: Callable[[Mail], Awaitable[None]],
    ) -> None:
        self.users = users
        self.companies = companies
        self.keep = keep
        self.contacts: dict[str, tuple[Contact, int]] = {}

    async def deliver(self, message: Message) -> None:
        ask = self.code_for if message.needs_code else self.contact_of
        await self.keep(message.mail(await ask(message), now_us()))

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
