"""Speaks the contracts, and decides nothing.

users       signing up and in, and what proves who one is
people      what a signed-in user sees and changes of themselves
companies   members and invitations
api_keys    the keys of programs that act for a company
holders     whose the accounts of a company are
staff       what staff and operators do
tokens      the keys of tokens, and the trade at the edge
"""

from .api_keys import ApiKeysApi
from .companies import CompaniesApi
from .holders import HoldersApi
from .staff import StaffApi
from .tokens import TokenExchangeApi, TokenKeysApi
from .users import UsersApi

__all__ = [
    "ApiKeysApi",
    "CompaniesApi",
    "HoldersApi",
    "StaffApi",
    "TokenExchangeApi",
    "TokenKeysApi",
    "UsersApi",
]
