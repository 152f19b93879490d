"""Puts the service together; the only module that knows all the others."""

from __future__ import annotations

from mesh.chassis import Chassis, Service

from . import handlers
from .api import StatementsApi
from .domain import Arrivals


def build(chassis: Chassis) -> Service:
    arrivals = Arrivals()
    return Service(
        name="statements",
        api=[StatementsApi(chassis, arrivals)],
        projections=[handlers.lines(arrivals)],
    )
