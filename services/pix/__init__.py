"""Pix: the outside rail, as a sandbox of it: payments that go out, and payments that come in.

Owns       payments, deposits
Asks       accounts (describe, post)
Publishes  PixPaymentSettled, PixPaymentRejected, PixReceived
Listens    to nobody
"""
