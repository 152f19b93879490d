"""Pix: payments that go out, payments that come in, and the rail between, as a sandbox of it.

Owns       payments, deposits, what is given back of them; a copy of who may act for which account
Asks       accounts (describe, post, hold)
Publishes  PixPaymentSettled, PixPaymentRejected, PixPaymentReturned, PixReceived,
           PixReceiptReturned, PixReceiptReturnFailed
Listens    to accounts (AccountOpened, AccountClosed) and users (MembershipChanged)
"""
