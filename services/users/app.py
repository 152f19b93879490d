"""Puts the service together; the only module that knows all the others."""

from __future__ import annotations

from mesh.chassis import Chassis, Service

from .api import TokenKeysApi, UsersApi
from .credentials import Argon2Settings, Passwords


def build(chassis: Chassis) -> Service:
    costs, tokens = Argon2Settings(), TokenKeysApi(chassis)
    if chassis.settings.is_production:
        costs.must_be_strong()
    return Service(name="users", api=[UsersApi(chassis, Passwords(costs), tokens), tokens])
