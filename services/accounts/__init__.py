"""Accounts: the double-entry ledger of the bank.

Owns       accounts, entries, postings, holds; a copy of who may act for which company
Asks       nobody
Publishes  AccountOpened, AccountClosed, AccountBlocked, AccountUnblocked, EntryPosted, HoldPlaced,
           HoldReleased
Listens    users' CompanyOpened (opens the company's account), MembershipChanged (who may act)
"""
