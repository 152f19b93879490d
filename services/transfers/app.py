"""Puts the service together; the only module that knows all the others."""

from __future__ import annotations

from functools import partial

from bank.accounts.v1.accounts_pb2_grpc import AccountsServiceStub
from bank.accounts.v1.ledger_pb2_grpc import LedgerServiceStub
from bank.pix.v1.pix_pb2_grpc import PixServiceStub
from bank.suppliers.v1.suppliers_pb2_grpc import SuppliersServiceStub
from mesh.chassis import Chassis, Service
from mesh.saga.runner import Saga

from . import handlers
from .api.batches import BatchesApi
from .api.intake import Intake
from .api.recurring import RecurringApi
from .api.terms import TermsApi
from .api.transfers import TransfersApi
from .checks import checks
from .clients import AccountsLedger, Books, PixRail, Suppliers
from .saga import expire, move_money, occur, work_through
from .store import batches, recurring, transfers


def build(chassis: Chassis) -> Service:
    ledger = AccountsLedger(chassis.stub(AccountsServiceStub, "accounts"))
    rail = PixRail(
        chassis.stub(PixServiceStub, "pix"),
        note_sent=lambda *sent: chassis.transact(transfers.note_sent, *sent),
    )
    suppliers = Suppliers(chassis.stub(SuppliersServiceStub, "suppliers"))
    intake = Intake(chassis, ledger, suppliers)
    return Service(
        name="transfers",
        api=[
            TransfersApi(chassis, intake),
            RecurringApi(chassis, intake),
            BatchesApi(chassis, intake),
            TermsApi(chassis),
        ],
        projections=[handlers.COPIES],
        reactions=[handlers.RETURNS],
        checks=checks(chassis, Books(chassis.stub(LedgerServiceStub, "accounts"))),
        sagas=[
            Saga(
                name=transfers.MOVE_MONEY,
                run=partial(
                    move_money,
                    begin=lambda transfer: chassis.transact(transfers.begin, transfer),
                    ledger=ledger,
                    rail=rail,
                ),
                load=transfers.load,
                finish=transfers.finish,
            ),
            Saga(
                name=transfers.EXPIRE_APPROVAL,
                run=expire,
                load=transfers.load,
                finish=transfers.expire,
            ),
            Saga(
                name=recurring.OCCUR,
                run=partial(occur, make=intake.occur),
                load=recurring.load,
                finish=recurring.finish,
            ),
            Saga(
                name=batches.WORK_THROUGH,
                run=partial(work_through, make=intake.work_through),
                load=batches.load,
                finish=batches.finish,
            ),
        ],
    )
