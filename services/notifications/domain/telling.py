"""Makes the message that tells somebody of an event, as they want to be told."""

from __future__ import annotations

from dataclasses import dataclass

from .digest import next_digest_us
from .messages import Kind, Message
from .preferences import Preferences
from .texts import Facts, write

NOTHING = Facts()


@dataclass(frozen=True, kw_only=True)
class Occasion:
    """Why somebody is told something: the event, the user, and what it is about, if anything."""

    event_id: str
    user_id: str
    transfer_id: str = ""
    ticket_id: str = ""
    now_us: int

    def message(self, kind: Kind, wanted: Preferences, facts: Facts = NOTHING) -> Message | None:
        """Makes the message; None if its user wants to hear of it by no channel."""
        channels = wanted.channels(kind)
        if not any(channels):
            return None
        subject, body = write(kind, wanted.language, facts)
        return Message(
            event_id=self.event_id,
            user_id=self.user_id,
            kind=kind,
            subject=subject,
            body=body,
            language=wanted.language,
            transfer_id=self.transfer_id,
            ticket_id=self.ticket_id,
            created_at_us=self.now_us,
            in_app=channels.in_app,
            by_mail=channels.mail,
            digest_at_us=(
                next_digest_us(self.now_us, wanted.digest_hour) if channels.digest else None
            ),
        )
