"""How a message reaches somebody: by e-mail, or not at all if there is nobody to reach."""

from __future__ import annotations

from mesh.errors import Refused
from mesh.saga import Journal

from .domain import Mailer, Message


async def deliver(message: Message, journal: Journal, mailer: Mailer) -> Message:
    """Carries a message to its end, across restarts."""
    try:
        await journal.step("mail", mailer.deliver, message)
    except Refused:
        return message.undeliverable()
    return message.sent()
