"""What is made of what accounts and users tell: copies, and who may read. No gRPC, NATS or SQL."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Account:
    account_id: str
    company_id: str
    owner_id: str

    def first_reader(self) -> Reader:
        """Gives the owner, who may read before the users have told of any membership."""
        return Reader(company_id=self.company_id, user_id=self.owner_id, may_read=True)


@dataclass(frozen=True, kw_only=True)
class Reader:
    """Whether a user may read a company's statements: every member may. Kept when it ends, too."""

    company_id: str
    user_id: str
    may_read: bool
