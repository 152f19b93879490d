"""Puts the service together; the only module that knows all the others."""

from __future__ import annotations

from functools import partial

from mesh.chassis import Chassis, Service

from . import handlers
from .api import AccountsApi


def build(chassis: Chassis) -> Service:
    return Service(
        name="accounts",
        api=[AccountsApi(chassis)],
        projections=[handlers.MEMBERS],
        reactions=[handlers.OPENING],
        background=[partial(handlers.release_expired_holds, chassis)],
    )
