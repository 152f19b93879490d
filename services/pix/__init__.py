"""Pix: payments, the keys they go by, and the rail between banks, as a sandbox of it.

Owns       payments, deposits, what is given back of them; keys of accounts and claims on keys;
           codes to be paid and their charges; a copy of who may act for which account
Asks       accounts (describe, post, hold), users (whose a company is)
Publishes  PixPaymentSettled, PixPaymentRejected, PixPaymentReturned, PixReceived,
           PixReceiptReturned, PixReceiptReturnFailed, PixKeyProofRequested, PixKeyRegistered,
           PixKeyRemoved, PixClaimChanged, PixChargePaid
Listens    to accounts (AccountOpened, AccountClosed) and users (MembershipChanged)
"""
