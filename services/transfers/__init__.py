"""Transfers: moves money to another account, or out of the bank by Pix, once or not at all.

Owns       transfers, those that repeat, and batches of them; limits, fees and approvals; a copy of
           which accounts there are, and of who may act for which company
Asks       accounts (describe, post, hold, settle, release), pix (send, get), suppliers (key)
Publishes  TransferCreated, TransferScheduled, TransferStarted, TransferAwaitingApproval,
           TransferApproved, TransferCompleted, TransferFailed, TransferCancelled, TransferReversed
Listens    accounts' AccountOpened, AccountClosed; users' MembershipChanged; pix's
           PixPaymentReturned
"""
