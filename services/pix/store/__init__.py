"""Where this service keeps what it owns, and its copies of what others own.

payments   payments and deposits
returns    what is given back, and what came in as its owner sees it
keys       keys of accounts, their codes, and how much may be looked up
claims     claims on keys
codes      codes to be paid, and what pays them
settlement the rail's file and the clearing account, and what differs
copies     accounts and memberships
"""
