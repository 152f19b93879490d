"""Puts the service together; the only module that knows all the others."""

from __future__ import annotations

from mesh.chassis import Chassis, Service

from .api import TokenExchangeApi, TokenKeysApi, UsersApi
from .credentials import Argon2Settings, Passwords
from .holders import HoldersApi


def build(chassis: Chassis) -> Service:
    costs, tokens = Argon2Settings(), TokenKeysApi(chassis)
    if chassis.settings.is_production:
        costs.must_be_strong()
    users, exchange = UsersApi(chassis, Passwords(costs), tokens), TokenExchangeApi(chassis, tokens)
    return Service(name="users", api=[users, tokens, exchange, HoldersApi(chassis)])
