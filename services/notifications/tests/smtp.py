"""A real SMTP server, that a test tells how to answer; and the service as a process to be killed.

    python -m services.notifications.tests.smtp DATA_DIR

runs the service, tells it once of a payment, and goes on until it is killed.
"""

from __future__ import annotations

import asyncio
import email
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from email import policy
from email.message import EmailMessage
from pathlib import Path
from typing import Any

from aiosmtpd.smtp import SMTP, AuthResult

from bank.users.v1 import users_pb2
from bank.users.v1.users_pb2_grpc import UsersServiceServicer
from mesh.db import UnitOfWork, sql
from mesh.rpc import Context
from mesh.testing.harness import Running, running
from services.notifications.app import build

from .driver import completed
from .fakes import FakeUsers

ANA = "01900000-0000-7000-8000-000000000001"

TOLD = sql("SELECT 1 AS is_told FROM messages LIMIT 1")


class Answers:
    """The methods of the users service that are asked."""

    def __init__(self) -> None:
        self.known = FakeUsers(ANA)

    async def IssueCode(
        self, request: users_pb2.IssueCodeRequest, context: Context
    ) -> users_pb2.IssueCodeResponse:
        return await self.known.IssueCode(request)

    async def GetContact(
        self, request: users_pb2.GetContactRequest, context: Context
    ) -> users_pb2.GetContactResponse:
        return await self.known.GetContact(request)


# A stand-in answers what it is asked; the rest of its contract stays unimplemented.
UsersApi = type("UsersApi", (Answers, UsersServiceServicer), {})


@dataclass
class Provider:
    """What a mail provider was given. `answers` are given first, one to each e-mail, to `RCPT` if
    `at_recipient`; then everything is taken, and answered once `holds` is set.
    """

    port: int = 0
    answers: list[str] = field(default_factory=list)
    at_recipient: bool = False
    taken: list[EmailMessage] = field(default_factory=list)
    seen: list[EmailMessage] = field(default_factory=list)
    signed_in: list[bytes] = field(default_factory=list)
    holds: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def ids(self) -> list[str]:
        return [str(each["Message-ID"]) for each in self.taken]

    async def handle_RCPT(
        self, server: Any, session: Any, envelope: Any, address: str, options: Any
    ) -> str:
        if self.at_recipient and self.answers:
            return self.answers.pop(0)
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        message = email.message_from_bytes(envelope.content, policy=policy.default)
        assert isinstance(message, EmailMessage)
        self.seen.append(message)
        if self.answers:
            return self.answers.pop(0)
        self.taken.append(message)
        await self.holds.wait()
        return "250 OK"

    def authenticate(
        self, server: Any, session: Any, envelope: Any, mechanism: str, data: Any
    ) -> AuthResult:
        self.signed_in.append(data.password)
        return AuthResult(success=data.password == b"secret")


@asynccontextmanager
async def provider(
    *answers: str, at_recipient: bool = False, port: int = 0, auth: bool = False
) -> AsyncIterator[Provider]:
    """Runs a mail provider on a port."""
    made = Provider(answers=[*answers], at_recipient=at_recipient)
    made.holds.set()

    def session() -> SMTP:
        known: dict[str, Any] = {"authenticator": made.authenticate} if auth else {}
        return SMTP(made, auth_require_tls=False, hostname="localhost", **known)

    server = await asyncio.get_running_loop().create_server(session, "127.0.0.1", port)
    made.port = server.sockets[0].getsockname()[1]
    try:
        yield made
    finally:
        made.holds.set()
        server.close()
        await server.wait_closed()


async def serve(data_dir: Path) -> None:
    peers = {"users": [UsersApi()]}
    async with running(build, data_dir, peers=peers, instance_id="one") as service:
        if not await is_told(service):
            await service.tell(completed(ANA))
        print("up", flush=True)
        await asyncio.Event().wait()


async def is_told(service: Running) -> bool:
    async def look(work: UnitOfWork) -> bool:
        return await work.fetch_one(TOLD) is not None

    return await service.database.read(look)


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1])))
