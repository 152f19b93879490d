"""How a payment reaches its payee, how one from outside reaches an account, and the way back."""

from __future__ import annotations

from mesh.errors import Refused
from mesh.saga import Journal

from .domain.keys import Claim
from .domain.payments import Deposit, Ledger, Payment
from .domain.rail import Messages
from .domain.returns import Return, ReturnLedger


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


async def give_back(
    given: Return, journal: Journal, ledger: ReturnLedger, messages: Messages
) -> Return:
    """Gives back what came in: held, sent, and taken from the account once the rail has it."""
    try:
        await journal.step("hold", ledger.hold, given)
        if not given.payer:
            await messages.hand_over(given.order(), journal)
    except Refused as refusal:
        await journal.step("release", ledger.release, given)
        return given.failed(refusal.reason)
    await journal.step("give", ledger.give, given)
    return given.settled()


async def take_back(
    given: Return, journal: Journal, ledger: ReturnLedger, messages: Messages
) -> Return:
    """Puts what the other bank gives back on the account that paid; the rail is told."""
    try:
        await journal.step("credit", ledger.take_back, given)
    except Refused as refusal:
        await journal.step("reject", messages.reject, given.return_end_to_end_id)
        return given.failed(refusal.reason)
    await journal.step("accept", messages.accept, given.return_end_to_end_id)
    return given.settled()


async def wait(claim: Claim, journal: Journal) -> Claim:
    """A period has passed: its saga takes no step, and what follows is decided as it ends."""
    return claim
