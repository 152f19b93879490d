"""Where this service keeps what it owns, and its copies of what others own.

transfers    transfers, from their acceptance to their end
copies       accounts and memberships
terms        limits and fees, and what is used of them
recurring    transfers that repeat
batches      many transfers of one file
"""
