"""How a message reaches somebody by e-mail, or not at all; and how a summary waits for its hour."""

from __future__ import annotations

from mesh.errors import Refused
from mesh.saga import Journal

from .domain.digest import Digest
from .domain.messages import Mailer, Message


async def deliver(message: Message, journal: Journal, mailer: Mailer) -> Message:
    """Carries a message to its end, across restarts."""
    try:
        await journal.step("mail", mailer.deliver, message)
    except Refused:
        return message.undeliverable()
    return message.sent()


async def summarise(digest: Digest, journal: Journal) -> Digest:
    """Begins at the hour of the summary, which is made and sent in the unit that ends this."""
    return digest
