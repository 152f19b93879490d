"""The rules of the ledger. No gRPC, no NATS, no SQL.

chart    the kinds of accounts, and what an account allows
books    double entry and holds, on books in memory
orders   what may be asked of the books
reading  balances, now and then, and reports
"""
