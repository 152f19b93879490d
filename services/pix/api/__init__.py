"""Speaks `bank.pix.v1`, and decides nothing.

payments           payments that go out, and the sandbox's deposits
receipts           what came in, and what of it is given back
keys               the directory of keys, and claims
codes              codes to be paid, and charges
settlement         the rail's word against ours and the ledger's
played_rail        the sandbox: the rail's mood, other banks' returns, the settlement file
played_directory   the sandbox: keys and claims of other banks' customers
"""
