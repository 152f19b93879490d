"""Puts the service together; the only module that knows all the others."""

from __future__ import annotations

from mesh.chassis import Chassis, Service

from . import handlers
from .api import SuppliersApi


def build(chassis: Chassis) -> Service:
    return Service(
        name="suppliers",
        api=[SuppliersApi(chassis)],
        projections=[handlers.MEMBERSHIPS, handlers.PAYMENTS],
    )
