"""Speaks `bank.pix.v1`, and decides nothing."""

from __future__ import annotations

from dataclasses import dataclass

from bank.pix.v1 import pix_pb2 as pb
from bank.pix.v1.pix_pb2_grpc import PixServiceServicer
from mesh.chassis import Chassis
from mesh.clock import now_us
from mesh.errors import InvalidArgument, Violation
from mesh.ids import new_id
from mesh.rpc import Context, caller, mark_replayed
from services import wire
from services.money import Money

from ..domain.codes import BRL, BrCode, token_at
from ..domain.payments import (
    Accounts,
    Deposit,
    Key,
    Payment,
    Status,
    known_account,
)
from ..domain.rail import OUR_ISPB, OUTSIDE_ISPB, end_to_end_id
from ..store import codes
from ..store import payments as store

PAGE_SIZE = 50
# Comes after every other id.


class PixApi(PixServiceServicer):
    """The door of the rail."""

    def __init__(self, chassis: Chassis, accounts: Accounts) -> None:
        self.chassis = chassis
        self.accounts = accounts

    async def SendPayment(
        self, request: pb.SendPaymentRequest, context: Context
    ) -> pb.SendPaymentResponse:
        key = Key.parse(request.pix_key)
        payment = await self.chassis.read(store.find_payment, request.payment_id)
        if payment is None:
            asked = to_payment(request, key, await self.accounts.account_of(key))
            payment = await self.chassis.transact(store.keep_payment, asked)
        payment.must_be(key.value, wire.from_wire(request.amount), request.description)
        return pb.SendPaymentResponse(payment=payment_to_wire(payment))

    async def GetPayment(
        self, request: pb.GetPaymentRequest, context: Context
    ) -> pb.GetPaymentResponse:
        payment = await self.chassis.read(store.get_payment, request.payment_id)
        return pb.GetPaymentResponse(payment=payment_to_wire(payment))

    async def CreateDeposit(
        self, request: pb.CreateDepositRequest, context: Context
    ) -> pb.CreateDepositResponse:
        instruction = await self.instructed(request)
        key = Key.parse(instruction.key)
        asked = to_deposit(request, instruction, known_account(await self.accounts.account_of(key)))
        self.chassis.admit()
        deposit, is_new = await self.chassis.transact(store.keep_deposit, asked)
        if not is_new:
            mark_replayed(context)
        if deposit.status is Status.PENDING and request.HasField("wait"):
            seconds = request.wait.ToTimedelta().total_seconds()
            ended = await self.chassis.wait_for(store.CREDIT_DEPOSIT, deposit.id, seconds)
            deposit = ended or deposit
        return pb.CreateDepositResponse(deposit=deposit_to_wire(deposit))

    async def instructed(self, request: pb.CreateDepositRequest) -> Instruction:
        """Reads whom a deposit pays, and how much: a code may say both."""
        amount = wire.from_wire(request.amount) if request.HasField("amount") else None
        if not request.br_code:
            return Instruction(
                key=request.account_id or request.pix_key, amount=must_say_how_much(amount)
            )
        read = BrCode.read(request.br_code)
        if read.location:
            code = await self.chassis.read(codes.by_token, token_at(read.location))
            return Instruction(key=code.key, amount=amount or code.amount, txid=code.txid)
        said = Money(read.minor_units, BRL) if read.minor_units else amount
        return Instruction(key=read.key, amount=must_say_how_much(said), txid=read.txid)


def must_say_how_much(amount: Money | None) -> Money:
    if amount is None:
        rule = Violation("amount", "value is required")
        raise InvalidArgument("NO_AMOUNT", "Say how much.", rule)
    return amount


@dataclass(frozen=True, kw_only=True, slots=True)
class Instruction:
    """Whom to pay, how much, and for what, as a code or the payer says it."""

    key: str
    amount: Money
    txid: str = ""


def to_payment(request: pb.SendPaymentRequest, key: Key, account: str) -> Payment:
    now = now_us()
    return Payment(
        id=request.payment_id,
        key=key.value,
        account=account,
        amount=wire.from_wire(request.amount),
        description=request.description,
        end_to_end_id=end_to_end_id(OUR_ISPB, now, request.payment_id),
        created_at_us=now,
        payer=request.payer_account_id,
        txid=request.txid,
    )


def to_deposit(request: pb.CreateDepositRequest, instruction: Instruction, account: str) -> Deposit:
    now, deposit_id = now_us(), new_id()
    return Deposit(
        id=deposit_id,
        request_id=request.request_id or None,
        account=account,
        amount=instruction.amount,
        description=request.description,
        end_to_end_id=request.end_to_end_id or end_to_end_id(OUTSIDE_ISPB, now, deposit_id),
        created_at_us=now,
        txid=instruction.txid,
    )


def payment_to_wire(payment: Payment) -> pb.Payment:
    return pb.Payment(
        payment_id=payment.id,
        end_to_end_id=payment.end_to_end_id,
        status=pb.PaymentStatus.Value(f"PAYMENT_STATUS_{payment.status.name}"),
        rejection_code=payment.rejection_code,
        returned=wire.to_wire(Money(payment.returned, payment.amount.currency)),
    )


def deposit_to_wire(deposit: Deposit) -> pb.Deposit:
    return pb.Deposit(
        deposit_id=deposit.id,
        account_id=deposit.account,
        amount=wire.to_wire(deposit.amount),
        status=pb.PaymentStatus.Value(f"PAYMENT_STATUS_{deposit.status.name}"),
        end_to_end_id=deposit.end_to_end_id,
        rejection_code=deposit.rejection_code,
        txid=deposit.txid,
    )


def user_id() -> str:
    return caller().must_be_user().user_id
