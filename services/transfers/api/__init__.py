"""Speaks `bank.transfers.v1`, and decides nothing.

intake       how an instruction comes in: what must be asked for first, and what is learned
transfers    transfers
recurring    transfers that repeat
batches      many transfers of one file
terms        limits and fees
"""
