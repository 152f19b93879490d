"""The other services, as this one sees them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from bank.accounts.v1 import ledger_pb2 as ledger

if TYPE_CHECKING:
    from bank.accounts.v1.ledger_pb2_grpc import LedgerServiceAsyncStub


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
