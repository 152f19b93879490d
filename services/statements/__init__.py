"""Statements: keeps a copy of the ledger that is made for reading.

Owns       lines; copies of accounts and of who may read them
Asks       nobody
Publishes  nothing
Listens    to accounts (AccountOpened, EntryPosted), users (MembershipChanged)
"""
