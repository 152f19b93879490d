"""Puts the service together; the only module that knows all the others."""

from __future__ import annotations

from bank.accounts.v1.ledger_pb2_grpc import LedgerServiceStub
from mesh.chassis import Chassis, Service

from . import handlers
from .api import StatementsApi
from .checks import checks
from .clients import Ledger
from .domain import Arrivals


def build(chassis: Chassis) -> Service:
    arrivals = Arrivals()
    ledger = Ledger(chassis.stub(LedgerServiceStub, "accounts"))
    return Service(
        name="statements",
        api=[StatementsApi(chassis, arrivals)],
        projections=[handlers.lines(arrivals)],
        checks=checks(chassis, ledger),
    )
