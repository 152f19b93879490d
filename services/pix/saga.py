"""How a payment reaches its payee, outside or here, and how one from outside reaches an account."""

from __future__ import annotations

from mesh.errors import Refused
from mesh.saga import Journal

from .domain import Deposit, Ledger, Payment
from .rail import Messages


async def deliver_payment(
    payment: Payment, journal: Journal, ledger: Ledger, messages: Messages
) -> Payment:
    """Hands a payment over. One to an account of ours never leaves the house."""
    try:
        if payment.account:
            await journal.step("credit", ledger.credit, payment.as_deposit())
        else:
            await messages.hand_over(payment.order(), journal)
    except Refused as refusal:
        return payment.rejected(refusal.reason)
    return payment.settled()


async def credit_deposit(
    deposit: Deposit, journal: Journal, ledger: Ledger, messages: Messages
) -> Deposit:
    """Puts what came in on the account, or turns it away; the rail is told which."""
    try:
        await journal.step("credit", ledger.credit, deposit)
    except Refused as refusal:
        await journal.step("reject", messages.reject, deposit.end_to_end_id)
        return deposit.rejected(refusal.reason)
    await journal.step("accept", messages.accept, deposit.end_to_end_id)
    return deposit.settled()
