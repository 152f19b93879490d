"""The services that transfers asks, in a few lines each, held to their contracts."""

from __future__ import annotations

from typing import Any

from bank.accounts.v1 import accounts_pb2 as accounts
from bank.accounts.v1.accounts_pb2_grpc import AccountsServiceServicer
from bank.pix.v1 import pix_pb2 as pix
from bank.pix.v1.pix_pb2_grpc import PixServiceServicer
from bank.suppliers.v1 import suppliers_pb2 as suppliers
from bank.suppliers.v1.suppliers_pb2_grpc import SuppliersServiceServicer
from mesh.errors import FailedPrecondition, InvalidArgument, NotFound, Transient
from mesh.ids import new_id


class Accounts(AccountsServiceServicer):
    """A ledger of balances. `known` says whose account each is; entries have one answer."""

    def __init__(self) -> None:
        self.known: dict[str, str] = {}
        self.balances: dict[str, int] = {}
        self.held: dict[str, tuple[str, int]] = {}
        self.entries: set[str] = set()
        self.settled: list[accounts.PostHoldRequest] = []

    def open(self, owner_id: str, balance: int = 0) -> str:
        account_id = new_id()
        self.known[account_id] = owner_id
        self.balances[account_id] = balance
        return account_id

    async def DescribeAccount(
        self, request: accounts.DescribeAccountRequest, context: Any
    ) -> accounts.DescribeAccountResponse:
        owner_id = self.known.get(request.account_id)
        if owner_id is None:
            raise NotFound("ACCOUNT_NOT_FOUND", "There is no such account.")
        return accounts.DescribeAccountResponse(
            company_id=f"company of {owner_id}"[:36],
            status=accounts.ACCOUNT_STATUS_OPEN,
            currency_code="BRL",
            user_may_pay=owner_id == request.user_id,
        )

    async def PostEntry(
        self, request: accounts.PostEntryRequest, context: Any
    ) -> accounts.PostEntryResponse:
        if request.entry_id not in self.entries:
            for posting in request.postings:
                if posting.amount.minor_units < 0:
                    self.take(posting.account_id, -posting.amount.minor_units)
            for posting in request.postings:
                if posting.amount.minor_units > 0:
                    self.put(posting.account_id, posting.amount.minor_units)
            self.entries.add(request.entry_id)
        return accounts.PostEntryResponse()

    async def PlaceHold(
        self, request: accounts.PlaceHoldRequest, context: Any
    ) -> accounts.PlaceHoldResponse:
        if request.hold_id not in self.held:
            self.take(request.account_id, request.amount.minor_units)
            self.held[request.hold_id] = (request.account_id, request.amount.minor_units)
        return accounts.PlaceHoldResponse()

    async def PostHold(
        self, request: accounts.PostHoldRequest, context: Any
    ) -> accounts.PostHoldResponse:
        account_id, amount = self.held.pop(request.hold_id)
        moved = sum(posting.amount.minor_units for posting in request.postings)
        self.balances[account_id] += amount - moved
        for posting in request.postings:
            self.put(posting.account_id, posting.amount.minor_units)
        self.settled.append(request)
        return accounts.PostHoldResponse()

    async def ReleaseHold(
        self, request: accounts.ReleaseHoldRequest, context: Any
    ) -> accounts.ReleaseHoldResponse:
        account_id, amount = self.held.pop(request.hold_id, ("", 0))
        if account_id:
            self.balances[account_id] += amount
        return accounts.ReleaseHoldResponse()

    def put(self, account_id: str, amount: int) -> None:
        self.balances[account_id] = self.balances.get(account_id, 0) + amount

    def take(self, account_id: str, amount: int) -> None:
        if self.balances[account_id] < amount:
            raise FailedPrecondition("INSUFFICIENT_FUNDS", "The account has not enough funds.")
        self.balances[account_id] -= amount

    def GetBalance(self, request: Any, context: Any) -> Any:
        raise NotImplementedError

    def GetAccount(self, request: Any, context: Any) -> Any:
        raise NotImplementedError

    def ListAccounts(self, request: Any, context: Any) -> Any:
        raise NotImplementedError

    def ReverseEntry(self, request: Any, context: Any) -> Any:
        raise NotImplementedError

    def CloseAccount(self, request: Any, context: Any) -> Any:
        raise NotImplementedError

    def VerifyLedger(self, request: Any, context: Any) -> Any:
        raise NotImplementedError


class Pix(PixServiceServicer):
    """A rail that tells what became of a payment at the second time of asking."""

    def __init__(self) -> None:
        self.asked: dict[str, int] = {}
        self.payments: dict[str, pix.Payment] = {}

    async def SendPayment(
        self, request: pix.SendPaymentRequest, context: Any
    ) -> pix.SendPaymentResponse:
        if request.pix_key == "nonsense":
            raise InvalidArgument("INVALID_PIX_KEY", "This is no Pix key.")
        payment = pix.Payment(payment_id=request.payment_id, status=pix.PAYMENT_STATUS_SETTLED)
        payment.end_to_end_id = f"E{request.payment_id[:31]}"
        if "reject" in request.pix_key:
            payment.status = pix.PAYMENT_STATUS_REJECTED
            payment.rejection_code = "AC03"
        is_first = request.payment_id not in self.payments
        self.payments[request.payment_id] = payment
        if "refuse" in request.pix_key and not is_first:
            raise InvalidArgument("INVALID_PIX_KEY", "This is no Pix key any more.")
        if is_first and ("doubt" in request.pix_key or "refuse" in request.pix_key):
            raise Transient("RAIL_AWAY", "The rail has it, and does not say so.")
        return pix.SendPaymentResponse(payment=payment)

    async def GetPayment(
        self, request: pix.GetPaymentRequest, context: Any
    ) -> pix.GetPaymentResponse:
        if request.payment_id not in self.payments:
            raise NotFound("PAYMENT_NOT_FOUND", "There is no such payment.")
        self.asked[request.payment_id] = self.asked.get(request.payment_id, 0) + 1
        if self.asked[request.payment_id] == 1:
            raise Transient("RAIL_AWAY", "The rail does not answer.")
        return pix.GetPaymentResponse(payment=self.payments[request.payment_id])

    def CreateDeposit(self, request: Any, context: Any) -> Any:
        raise NotImplementedError


class Suppliers(SuppliersServiceServicer):
    """Suppliers of companies, and where they are paid."""

    def __init__(self) -> None:
        self.known: dict[str, suppliers.GetSupplierKeyResponse] = {}
        # How often it is not there before it answers.
        self.faults = 0

    def add(self, company_id: str, pix_key: str = "lima@example.com") -> str:
        supplier_id = new_id()
        self.known[supplier_id] = suppliers.GetSupplierKeyResponse(
            company_id=company_id, pix_key=pix_key, name="Embalagens Lima", version=1
        )
        return supplier_id

    async def GetSupplierKey(
        self, request: suppliers.GetSupplierKeyRequest, context: Any
    ) -> suppliers.GetSupplierKeyResponse:
        if self.faults:
            self.faults -= 1
            raise Transient("AWAY", "Suppliers is away.")
        if request.supplier_id not in self.known:
            raise NotFound("SUPPLIER_NOT_FOUND", "There is no such supplier.")
        return self.known[request.supplier_id]

    def CreateSupplier(self, request: Any, context: Any) -> Any:
        raise NotImplementedError

    def GetSupplier(self, request: Any, context: Any) -> Any:
        raise NotImplementedError

    def ListSuppliers(self, request: Any, context: Any) -> Any:
        raise NotImplementedError

    def UpdateSupplier(self, request: Any, context: Any) -> Any:
        raise NotImplementedError

    def DeleteSupplier(self, request: Any, context: Any) -> Any:
        raise NotImplementedError

    def ListSupplierPayments(self, request: Any, context: Any) -> Any:
        raise NotImplementedError

    def ListSupplierChanges(self, request: Any, context: Any) -> Any:
        raise NotImplementedError
