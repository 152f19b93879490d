"""The other services, as this service sees them, and the place of a rail where there is none."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import date
from typing import TYPE_CHECKING, NoReturn

from bank.accounts.v1 import accounts_pb2 as accounts
from bank.accounts.v1 import ledger_pb2 as ledger
from bank.users.v1 import holders_pb2 as holders
from mesh.errors import NotFound, Transient
from services import wire
from services.money import Money

from .domain.keys import Owner
from .domain.payments import Deposit, Key, KeyKind
from .domain.rail import Answer, Holder, Order, Settlement
from .domain.returns import Return
from .domain.settlement import Posting

if TYPE_CHECKING:
    from bank.accounts.v1.accounts_pb2_grpc import AccountsServiceAsyncStub
    from bank.accounts.v1.ledger_pb2_grpc import LedgerServiceAsyncStub
    from bank.users.v1.holders_pb2_grpc import HoldersServiceAsyncStub

# The account of the bank through which Pix money enters and leaves it.
CLEARING = "pix-clearing"
CLEARING_PART = 500
RETURNED = "Devolução Pix"


class AccountsLedger:
    """The ledger that accounts keeps; an entry is named after its deposit, or its return."""

    def __init__(self, stub: AccountsServiceAsyncStub) -> None:
        self.accounts = stub

    async def credit(self, deposit: Deposit) -> None:
        await self.post(
            deposit.id, deposit.id, deposit.account, deposit.amount, deposit.description, "Pix"
        )

    async def take_back(self, given: Return) -> None:
        """Puts what the other bank gives back on the account that paid, under its transfer."""
        await self.post(
            given.id, given.original_id, given.account, given.amount, RETURNED, RETURNED
        )

    async def post(
        self,
        entry_id: str,
        transfer_id: str,
        account_id: str,
        amount: Money,
        description: str,
        counterparty: str,
    ) -> None:
        taken = Money(-amount.minor_units, amount.currency)
        await self.accounts.PostEntry(
            accounts.PostEntryRequest(
                entry_id=entry_id,
                postings=(
                    accounts.Posting(account_id=CLEARING, amount=wire.to_wire(taken)),
                    accounts.Posting(account_id=account_id, amount=wire.to_wire(amount)),
                ),
                transfer_id=transfer_id,
                description=description,
                counterparty=counterparty,
            )
        )

    async def hold(self, given: Return) -> None:
        await self.accounts.PlaceHold(
            accounts.PlaceHoldRequest(
                hold_id=given.id, account_id=given.account, amount=wire.to_wire(given.amount)
            )
        )

    async def give(self, given: Return) -> None:
        await self.accounts.PostHold(
            accounts.PostHoldRequest(
                hold_id=given.id,
                payee_account_id=given.payer or CLEARING,
                description=given.description or RETURNED,
                counterparty=RETURNED,
            )
        )

    async def release(self, given: Return) -> None:
        await self.accounts.ReleaseHold(accounts.ReleaseHoldRequest(hold_id=given.id))


class Clearing:
    """The clearing account, as the ledger has it."""

    def __init__(self, stub: LedgerServiceAsyncStub) -> None:
        self.ledger = stub

    async def after(self, version: int) -> list[Posting]:
        """Gives the next lines after one; none if there are no more."""
        answer = await self.ledger.ListPostings(
            ledger.ListPostingsRequest(
                account_id=CLEARING, after_version=version, page_size=CLEARING_PART
            )
        )
        return [
            Posting(
                version=line.version,
                entry_id=line.entry_id,
                minor_units=line.amount.minor_units,
                occurred_at_us=line.occurred_at.ToMicroseconds(),
            )
            for line in answer.postings
        ]


class OurAccounts:
    """Whose a key is among our accounts: `registered` tells the account of a key, if any has it."""

    def __init__(
        self, stub: AccountsServiceAsyncStub, registered: Callable[[str], Awaitable[str]]
    ) -> None:
        self.accounts = stub
        self.registered = registered

    async def account_of(self, key: Key) -> str:
        """Names the account that a key stands for: an account's random key is its own id."""
        if account := await self.registered(key.value):
            return account
        if key.kind is not KeyKind.RANDOM:
            return ""
        request = accounts.DescribeAccountRequest(account_id=key.value)
        try:
            await self.accounts.DescribeAccount(request)
        except NotFound:
            return ""
        return key.value


class Users:
    """The users service, which knows whose a company is."""

    def __init__(self, stub: HoldersServiceAsyncStub) -> None:
        self.holders = stub

    async def owner_of(self, company_id: str, user_id: str) -> Owner:
        known = await self.holders.GetHolder(
            holders.GetHolderRequest(company_id=company_id, user_id=user_id)
        )
        return Owner(
            name=known.legal_name,
            cnpj=known.cnpj,
            cpf=known.owner_cpf,
            email=known.user_email,
        )


class NoRail:
    """In production, while there is no provider: payments wait, and none settles in a sandbox."""

    async def send(self, order: Order) -> Answer:
        no_rail()

    async def query(self, end_to_end_id: str) -> Answer | None:
        no_rail()

    async def answer(self, end_to_end_id: str, answer: Answer) -> None:
        no_rail()

    async def settled_on(self, day: date) -> list[Settlement]:
        no_rail()

    async def find(self, key: str) -> Holder | None:
        no_rail()

    async def taken(self, key: str) -> Holder | None:
        no_rail()


def no_rail() -> NoReturn:
    raise Transient("NO_RAIL", "There is no provider of the rail yet.")
