"""Puts the service together; the only module that knows all the others."""

from __future__ import annotations

from mesh.chassis import Chassis, Service

from . import facts
from .api import (
    ApiKeysApi,
    CompaniesApi,
    HoldersApi,
    StaffApi,
    TokenExchangeApi,
    TokenKeysApi,
    UsersApi,
)
from .credentials import Argon2Settings, Passwords
from .vault import Vault, VaultSettings

# NIST SP 800-63B-4, 3.1.1.2: where a password is all that is asked for. On a laptop, what is merely
# typed often may be shorter.
SHORTEST_PASSWORD, SHORTEST_ON_A_LAPTOP = 15, 8


def build(chassis: Chassis) -> Service:
    costs, settings = Argon2Settings(), chassis.settings
    if settings.is_production:
        costs.must_be_strong()
    shortest = SHORTEST_PASSWORD if settings.is_production else SHORTEST_ON_A_LAPTOP
    vault = Vault(VaultSettings().master_key(settings))
    tokens = TokenKeysApi(chassis, vault)
    users = UsersApi(chassis, Passwords(costs), tokens, vault, shortest)
    return Service(
        name="users",
        api=[
            users,
            CompaniesApi(chassis, vault),
            ApiKeysApi(chassis),
            HoldersApi(chassis, vault),
            StaffApi(chassis, vault, tokens),
            tokens,
            TokenExchangeApi(chassis, tokens),
        ],
        facts=facts.FACTS,
    )
