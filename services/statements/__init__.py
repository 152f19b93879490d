"""Statements: keeps a copy of the ledger that is made for reading.

Owns       lines; copies of accounts and of who may read them
Asks       accounts, whether its copy is right; users, what a company is called
Publishes  nothing
Listens    to accounts (AccountOpened, EntryPosted), users (MembershipChanged)
"""
