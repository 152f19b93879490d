"""The development mailbox in place of a mail provider, and what there is without either."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from mesh.clock import now_us
from mesh.errors import Transient

from ..domain.messages import Mail, Message
from ..domain.texts import mail
from .people import People


class NoMailer:
    """In production, while there is no provider: messages wait, and codes lie in no mailbox."""

    async def deliver(self, message: Message) -> None:
        raise Transient("NO_MAIL_PROVIDER", "There is nobody to send e-mails yet.")


class MailboxMailer:
    """Writes e-mails into the development mailbox: `keep` puts one there."""

    def __init__(self, people: People, keep: Callable[[Mail], Awaitable[None]]) -> None:
        self.people = people
        self.keep = keep

    async def deliver(self, message: Message) -> None:
        await self.keep(mail(message, await self.people.contact(message), now_us()))
