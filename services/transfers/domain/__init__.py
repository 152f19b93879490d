"""The rules of transfers. No gRPC, no NATS, no SQL.

transfers    what a transfer is, who may ask for it, and what may become of it
terms        limits and fees
recurrence   transfers that repeat
batches      many transfers of one file
"""
