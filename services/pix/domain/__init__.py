"""The rules of Pix. No gRPC, no NATS, no SQL.

payments   keys as they are written, payments that go out, payments that come in
rail       the port of the rail: messages and answers
returns    what is given back
keys       keys of accounts, and claims
settlement what the rail, this service and the ledger say of the same money
codes      codes to be paid, and charges
"""
