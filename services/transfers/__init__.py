"""Transfers: moves money from an account to another, or out of the bank by Pix, once or not at all.

Owns       transfers; a copy of which accounts there are, and of who may act for which company
Asks       accounts (describe, post, hold, settle, release), pix (send), suppliers (key)
Publishes  TransferCreated, TransferCompleted, TransferFailed, TransferCancelled
Listens    accounts' AccountOpened, AccountClosed; users' MembershipChanged
"""
