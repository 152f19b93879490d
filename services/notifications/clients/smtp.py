"""A mail provider, by SMTP (RFC 5321): what it has accepted once is as good as delivered.

A provider that is away, or says 4xx, is asked again after a pause that grows; only a 5xx about the
recipient or the message is final. What fails for who we are (signing in, the sender) is ours to
mend, and waits. `Message-ID` is the message's own id: when the answer to an e-mail is lost, the
same one is sent again, and a reader's mailbox can tell.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from email.message import EmailMessage
from email.utils import format_datetime
from pathlib import Path
from typing import Literal

from aiosmtplib import (
    SMTP,
    SMTPDataError,
    SMTPException,
    SMTPNotSupported,
    SMTPRecipientsRefused,
    SMTPResponseException,
)
from pydantic import Field, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from mesh.clock import from_us, now_us
from mesh.errors import FailedPrecondition, Transient
from mesh.events.backoff import Backoff

from ..domain.messages import Mail, Message
from ..domain.texts import mail
from .people import People

# The pause that all e-mails share, as those do that wait for the provider itself.
EVERYBODY = ""
PAUSES_KEPT = 10_000


class SmtpSettings(BaseSettings):
    """How the provider is reached: `SMTP_HOST` and so on. Empty: there is none.

    `password_file` holds the password of `user`; without a user nobody signs in. Times are seconds.
    """

    model_config = SettingsConfigDict(env_prefix="SMTP_", frozen=True)

    host: str = ""
    port: int = Field(default=587, ge=1, le=65_535)
    security: Literal["starttls", "tls", "none"] = "starttls"
    user: str = ""
    password_file: Path | None = None
    sender: str = Field(default="Linker <nao-responda@linker.example>", pattern=r"@[^@>]+>?$")
    timeout_s: float = Field(default=10.0, gt=0)
    connections: int = Field(default=8, ge=1)
    first_pause_s: float = Field(default=1.0, gt=0)
    longest_pause_s: float = Field(default=300.0, gt=0)

    @model_validator(mode="after")
    def keeps_the_password(self) -> SmtpSettings:
        if self.user and self.security == "none" and self.host not in {"127.0.0.1", "localhost"}:
            raise ValueError("a password is not sent in the clear: SMTP_SECURITY must be set")
        return self

    @property
    def domain(self) -> str:
        return self.sender.rpartition("@")[2].rstrip(">")

    def password(self) -> str | None:
        return self.password_file.read_text().strip() if self.password_file else None


class Pauses:
    """What is not tried again before a while: each e-mail, and the provider for all of them."""

    def __init__(self, first_s: float, longest_s: float) -> None:
        self.first_s = first_s
        self.longest_s = longest_s
        self.until: dict[str, tuple[float, Backoff]] = {}

    def must_be_over(self, message_id: str) -> None:
        """Raises `Transient` while an e-mail, or the provider, is not to be tried."""
        for key in (EVERYBODY, message_id):
            until, _ = self.until.get(key, (0.0, None))
            if time.monotonic() < until:
                raise Transient("MAIL_WAITS", "The e-mail is tried again later.")

    def begin(self, key: str) -> None:
        """Begins a pause, longer than the one before. One that goes on already is not made longer:
        the tries that failed together were one.
        """
        if len(self.until) >= PAUSES_KEPT:
            self.until.clear()
        backoff = Backoff(first_s=self.first_s, cap_s=self.longest_s)
        until, backoff = self.until.get(key, (0.0, backoff))
        if time.monotonic() >= until:
            self.until[key] = time.monotonic() + backoff.next(), backoff

    def end(self, message_id: str) -> None:
        self.until.pop(message_id, None)
        self.until.pop(EVERYBODY, None)


class SmtpMailer:
    """Sends e-mails over a few connections at once, each of them one e-mail."""

    def __init__(self, people: People, settings: SmtpSettings) -> None:
        self.people = people
        self.settings = settings
        self.pauses = Pauses(settings.first_pause_s, settings.longest_pause_s)
        self.permits = asyncio.Semaphore(settings.connections)

    async def deliver(self, message: Message) -> None:
        """Sends a message. Raises `Refused` if it will never be taken, `Transient` until it is."""
        async with self.permits:
            self.pauses.must_be_over(message.id)
            # A code is issued when there is a chance that it arrives.
            contact = await self.people.contact(message)
            written = written_out(mail(message, contact, now_us()), self.settings)
            try:
                await self.send(written)
            except (SMTPRecipientsRefused, SMTPDataError) as refusal:
                self.pauses.end(message.id)
                if is_final(refusal):
                    raise refused() from None
                self.pauses.begin(message.id)
                raise Transient("MAIL_DEFERRED", "The e-mail is not taken yet.") from None
            except (SMTPException, OSError, TimeoutError) as failure:
                self.pauses.begin(EVERYBODY)
                code = getattr(failure, "code", type(failure).__name__)
                raise Transient("MAIL_PROVIDER_AWAY", f"No e-mail is taken: {code}.") from None
        self.pauses.end(message.id)

    async def send(self, written: EmailMessage) -> None:
        settings = self.settings
        smtp = SMTP(
            hostname=settings.host,
            port=settings.port,
            use_tls=settings.security == "tls",
            start_tls=settings.security == "starttls",
            username=settings.user or None,
            password=await asyncio.to_thread(settings.password) if settings.user else None,
            timeout=settings.timeout_s,
        )
        try:
            await smtp.connect()
            await smtp.send_message(written)
            # What was taken is taken: a farewell that fails changes nothing.
            with contextlib.suppress(SMTPException, OSError, TimeoutError):
                await smtp.quit()
        except SMTPNotSupported:
            raise refused() from None
        finally:
            smtp.close()


def written_out(mail: Mail, settings: SmtpSettings) -> EmailMessage:
    """Writes an e-mail as it is sent (RFC 5322). No automatic answer is wanted (RFC 3834)."""
    written = EmailMessage()
    written["From"] = settings.sender
    written["To"] = mail.to
    written["Subject"] = mail.subject
    written["Date"] = format_datetime(from_us(mail.sent_at_us))
    written["Message-ID"] = f"<{mail.message_id}@{settings.domain}>"
    written["Auto-Submitted"] = "auto-generated"
    written.set_content(mail.body)
    written["Content-Language"] = mail.language.value
    return written


def refused() -> FailedPrecondition:
    return FailedPrecondition("MAIL_REFUSED", "The e-mail was refused.")


def is_final(refusal: SMTPRecipientsRefused | SMTPDataError) -> bool:
    answers: list[SMTPResponseException] = (
        [*refusal.recipients] if isinstance(refusal, SMTPRecipientsRefused) else [refusal]
    )
    return all(500 <= answer.code < 600 for answer in answers)
