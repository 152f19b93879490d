"""The other services, and the outside, as this service sees them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from bank.accounts.v1 import accounts_pb2 as accounts
from mesh.errors import FailedPrecondition, NotFound
from services import wire
from services.money import Money

from .domain import Deposit, Key, KeyKind, Payment, outside_answer

if TYPE_CHECKING:
    from bank.accounts.v1.accounts_pb2_grpc import AccountsServiceAsyncStub

# The account of the bank through which Pix money enters and leaves it.
CLEARING = "pix-clearing"
# About what the real rail takes between two banks that answer at once.
DELIVERY_S = 0.05


class AccountsLedger:
    """The ledger that accounts keeps; the entry is named after its deposit."""

    def __init__(self, stub: AccountsServiceAsyncStub) -> None:
        self.accounts = stub

    async def account_of(self, key: Key) -> str:
        """Names the account that a key stands for: an account's random key is its own id."""
        if key.kind is not KeyKind.RANDOM:
            return ""
        request = accounts.DescribeAccountRequest(account_id=key.value)
        try:
            await self.accounts.DescribeAccount(request)
        except NotFound:
            return ""
        return key.value

    async def credit(self, deposit: Deposit) -> None:
        taken = Money(-deposit.amount.minor_units, deposit.amount.currency)
        await self.accounts.PostEntry(
            accounts.PostEntryRequest(
                entry_id=deposit.id,
                postings=(
                    accounts.Posting(account_id=CLEARING, amount=wire.to_wire(taken)),
                    accounts.Posting(
                        account_id=deposit.account, amount=wire.to_wire(deposit.amount)
                    ),
                ),
                transfer_id=deposit.id,
                description=deposit.description,
                counterparty="Pix",
            )
        )


class Sandbox:
    """Plays everybody outside: takes every payment but those whose key says otherwise."""

    async def deliver(self, payment: Payment) -> None:
        await asyncio.sleep(DELIVERY_S)
        if code := outside_answer(payment.key):
            raise FailedPrecondition(code, "The payee's bank refused the payment.")
