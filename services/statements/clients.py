"""The other services, as this one sees them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from bank.accounts.v1 import ledger_pb2 as ledger
from bank.users.v1 import holders_pb2
from mesh.errors import Transient

if TYPE_CHECKING:
    from bank.accounts.v1.ledger_pb2_grpc import LedgerServiceAsyncStub
    from bank.users.v1.holders_pb2_grpc import HoldersServiceAsyncStub


class Ledger:
    """The ledger, of which the lines are a copy."""

    def __init__(self, stub: LedgerServiceAsyncStub) -> None:
        self.ledger = stub

    async def seals(self, keys: Sequence[tuple[str, int]]) -> Sequence[bytes]:
        """Gives the seals of lines, named by account and version; empty where there is none."""
        if not keys:
            return []
        named = [
            ledger.PostingKey(account_id=account, version=version) for account, version in keys
        ]
        answer = await self.ledger.CompareSeals(ledger.CompareSealsRequest(keys=named))
        return answer.seals


class Holders:
    """The users, who know what a company is called."""

    def __init__(self, stub: HoldersServiceAsyncStub) -> None:
        self.holders = stub

    async def name_of(self, company_id: str) -> str:
        """Gives a company's registered name; empty while nobody can tell it."""
        try:
            holder = await self.holders.GetHolder(
                holders_pb2.GetHolderRequest(company_id=company_id)
            )
        except Transient:
            return ""
        return f"{holder.legal_name} · CNPJ {holder.cnpj}"
