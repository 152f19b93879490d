"""How a payment reaches its payee, outside or here, and how one from outside reaches an account."""

from __future__ import annotations

from mesh.errors import Refused
from mesh.saga import Journal

from .domain import Deposit, Ledger, Outside, Payment


async def deliver_payment(
    payment: Payment, journal: Journal, ledger: Ledger, outside: Outside
) -> Payment:
    """Hands a payment over. One to an account of ours never leaves the house."""
    try:
        if payment.account:
            await journal.step("credit", ledger.credit, payment.as_deposit())
        else:
            await journal.step("deliver", outside.deliver, payment)
    except Refused as refusal:
        return payment.rejected(refusal.reason)
    return payment.settled()


async def credit_deposit(deposit: Deposit, journal: Journal, ledger: Ledger) -> Deposit:
    """Puts what came in on the account, or sends it back."""
    try:
        await journal.step("credit", ledger.credit, deposit)
    except Refused as refusal:
        return deposit.rejected(refusal.reason)
    return deposit.settled()
