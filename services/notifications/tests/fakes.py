"""A journal, a mailer and a users service, by hand."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from bank.users.v1 import users_pb2 as pb
from bank.users.v1.companies_pb2 import IssueInvitationRequest, IssueInvitationResponse
from mesh.errors import NotFound
from services.notifications.domain.messages import Message

T = TypeVar("T")


class FakeJournal:
    """Takes each step once, and remembers that it did."""

    def __init__(self) -> None:
        self.taken: list[str] = []

    async def step(self, name: str, action: Callable[[T], Awaitable[None]], argument: T, /) -> None:
        if name not in self.taken:
            await action(argument)
            self.taken.append(name)


class FakeMailer:
    def __init__(self, refusal: Exception | None = None) -> None:
        self.refusal = refusal
        self.delivered: list[Message] = []

    async def deliver(self, message: Message) -> None:
        if self.refusal:
            raise self.refusal
        self.delivered.append(message)


class FakeUsers:
    """The part of the users service that is asked. Nobody but Ana is known."""

    def __init__(self, user_id: str = "ana") -> None:
        self.user_id = user_id
        self.issued: list[str] = []
        self.asked = 0

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"nobody should ask for {name}")

    async def IssueCode(self, request: pb.IssueCodeRequest) -> pb.IssueCodeResponse:
        self.must_know(request.user_id)
        self.issued.append(pb.CodePurpose.Name(request.purpose))
        code = f"{len(self.issued):06}"
        return pb.IssueCodeResponse(email="Ana@Example.com", full_name="Ana", code=code)

    async def IssueInvitation(self, request: IssueInvitationRequest) -> IssueInvitationResponse:
        self.issued.append(request.invitation_id)
        return IssueInvitationResponse(email="bia@example.com", legal_name="Ana ME", code="c0de")

    async def GetContact(self, request: pb.GetContactRequest) -> pb.GetContactResponse:
        self.must_know(request.user_id)
        self.asked += 1
        return pb.GetContactResponse(email="Ana@Example.com", full_name="Ana")

    def must_know(self, user_id: str) -> None:
        if user_id != self.user_id:
            raise NotFound("USER_NOT_FOUND", "There is no such user.")
