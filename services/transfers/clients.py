"""The other services, as this one sees them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING

from bank.accounts.v1 import accounts_pb2 as accounts
from bank.accounts.v1 import ledger_pb2 as ledger
from bank.pix.v1 import pix_pb2 as pix
from bank.suppliers.v1 import suppliers_pb2 as suppliers
from mesh.errors import FailedPrecondition, NotFound, Refused, Transient
from services import wire
from services.money import Money

from .domain.standings import Standing
from .domain.transfers import Account, Supplier, Transfer, masked

if TYPE_CHECKING:
    from bank.accounts.v1.accounts_pb2_grpc import AccountsServiceAsyncStub
    from bank.accounts.v1.ledger_pb2_grpc import LedgerServiceAsyncStub
    from bank.pix.v1.pix_pb2_grpc import PixServiceAsyncStub
    from bank.suppliers.v1.suppliers_pb2_grpc import SuppliersServiceAsyncStub

# The account of the bank through which Pix money leaves it, and the one that its fees go to.
CLEARING = "pix-clearing"
FEES = "fees"


class AccountsLedger:
    """The ledger that accounts keeps; an entry, or a hold, is named after its transfer."""

    def __init__(self, stub: AccountsServiceAsyncStub) -> None:
        self.accounts = stub

    async def describe(self, account_id: str, user_id: str) -> Account | None:
        """Tells what accounts knows of an account; None if there is no such account."""
        request = accounts.DescribeAccountRequest(account_id=account_id, user_id=user_id)
        try:
            known = await self.accounts.DescribeAccount(request)
        except NotFound:
            return None
        return Account(
            id=account_id,
            company_id=known.company_id,
            currency=known.currency_code,
            is_open=known.status == accounts.ACCOUNT_STATUS_OPEN,
            may_pay=known.user_may_pay or None,
        )

    async def post(self, transfer: Transfer) -> None:
        await self.accounts.PostEntry(
            accounts.PostEntryRequest(
                entry_id=transfer.id,
                postings=(
                    posting(transfer.payer, -transfer.cost.minor_units, transfer.amount),
                    *parts(transfer, transfer.payee),
                ),
                transfer_id=transfer.id,
                description=transfer.description,
            )
        )

    async def hold(self, transfer: Transfer) -> None:
        await self.accounts.PlaceHold(
            accounts.PlaceHoldRequest(
                hold_id=transfer.id,
                account_id=transfer.payer,
                amount=wire.to_wire(transfer.cost),
            )
        )

    async def settle(self, transfer: Transfer) -> None:
        await self.accounts.PostHold(
            accounts.PostHoldRequest(
                hold_id=transfer.id,
                postings=parts(transfer, CLEARING),
                description=transfer.description,
                counterparty=transfer.payee_name or masked(transfer.pix_key),
            )
        )

    async def release(self, transfer: Transfer) -> None:
        await self.accounts.ReleaseHold(accounts.ReleaseHoldRequest(hold_id=transfer.id))


class Books:
    """The books that accounts keeps, for those who compare."""

    def __init__(self, stub: LedgerServiceAsyncStub) -> None:
        self.ledger = stub

    async def standings(self, ids: Sequence[str]) -> list[Standing]:
        """Tells what the books have under the ids of transfers, in their order."""
        if not ids:
            return []
        answer = await self.ledger.LookUpEntries(ledger.LookUpEntriesRequest(entry_ids=ids))
        return [
            Standing(
                moved=[(side.account_id, side.amount.minor_units) for side in entry.postings],
                held=entry.held_minor_units,
            )
            for entry in answer.entries
        ]


class PixRail:
    """The rail behind pix; a payment is named after its transfer."""

    def __init__(
        self, stub: PixServiceAsyncStub, note_sent: Callable[[str, str], Awaitable[None]]
    ) -> None:
        self.pix = stub
        self.note_sent = note_sent

    async def send(self, transfer: Transfer) -> None:
        """Gives the payment to the rail. Refused only if the rail does not have it.

        A refusal may come after an earlier call that was not answered, and was heard all the same.
        """
        request = pix.SendPaymentRequest(
            payment_id=transfer.id,
            pix_key=transfer.pix_key,
            amount=wire.to_wire(transfer.amount),
            description=transfer.description,
            payer_account_id=transfer.payer,
        )
        try:
            await self.pix.SendPayment(request)
        except Refused:
            if not await self.has(transfer):
                raise

    async def has(self, transfer: Transfer) -> bool:
        try:
            await self.pix.GetPayment(pix.GetPaymentRequest(payment_id=transfer.id))
        except NotFound:
            return False
        return True

    async def confirm(self, transfer: Transfer) -> None:
        """Asks what became of the payment; nothing but the rail's own word is an answer."""
        request = pix.GetPaymentRequest(payment_id=transfer.id)
        try:
            payment = (await self.pix.GetPayment(request)).payment
        except Refused as refusal:
            raise Transient("PAYMENT_UNKNOWN", "The rail does not tell.") from refusal
        if payment.status == pix.PAYMENT_STATUS_REJECTED:
            raise FailedPrecondition(payment.rejection_code, "The rail refused the payment.")
        if payment.status != pix.PAYMENT_STATUS_SETTLED:
            raise Transient("PAYMENT_PENDING", "The rail has not answered yet.")
        await self.note_sent(transfer.id, payment.end_to_end_id)


class Suppliers:
    """The suppliers of companies, which say where they are paid."""

    def __init__(self, stub: SuppliersServiceAsyncStub) -> None:
        self.suppliers = stub

    async def find(self, supplier_id: str) -> Supplier | None:
        """Tells where a supplier is paid now; None if there is none that may be paid."""
        request = suppliers.GetSupplierKeyRequest(supplier_id=supplier_id)
        try:
            known = await self.suppliers.GetSupplierKey(request)
        except NotFound:
            return None
        return Supplier(company_id=known.company_id, pix_key=known.pix_key, name=known.name)


def posting(account_id: str, minor_units: int, amount: Money) -> accounts.Posting:
    return accounts.Posting(
        account_id=account_id, amount=wire.to_wire(Money(minor_units, amount.currency))
    )


def parts(transfer: Transfer, payee: str) -> list[accounts.Posting]:
    """Says where the money goes: to the payee, and the fee to the bank."""
    to_payee = posting(payee, transfer.amount.minor_units, transfer.amount)
    if not transfer.fee:
        return [to_payee]
    return [to_payee, posting(FEES, transfer.fee, transfer.amount)]
