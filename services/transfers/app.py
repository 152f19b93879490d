"""Puts the service together; the only module that knows all the others."""

from __future__ import annotations

from functools import partial

from bank.accounts.v1.accounts_pb2_grpc import AccountsServiceStub
from bank.pix.v1.pix_pb2_grpc import PixServiceStub
from bank.suppliers.v1.suppliers_pb2_grpc import SuppliersServiceStub
from mesh.chassis import Chassis, Service
from mesh.saga.runner import Saga

from . import handlers, store
from .api import TransfersApi
from .clients import AccountsLedger, PixRail, Suppliers
from .saga import move_money


def build(chassis: Chassis) -> Service:
    ledger = AccountsLedger(chassis.stub(AccountsServiceStub, "accounts"))
    rail = PixRail(
        chassis.stub(PixServiceStub, "pix"),
        note_sent=lambda *sent: chassis.transact(store.note_sent, *sent),
    )
    suppliers = Suppliers(chassis.stub(SuppliersServiceStub, "suppliers"))
    return Service(
        name="transfers",
        api=[TransfersApi(chassis, ledger, suppliers)],
        projections=[handlers.COPIES],
        sagas=[
            Saga(
                name=store.MOVE_MONEY,
                run=partial(
                    move_money,
                    begin=lambda transfer: chassis.transact(store.begin, transfer),
                    ledger=ledger,
                    rail=rail,
                ),
                load=store.load,
                finish=store.finish,
            )
        ],
    )
