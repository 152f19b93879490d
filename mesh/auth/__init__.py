"""Users' access tokens: JWTs (RFC 9068) signed with ES256.

keys      the issuer's public keys, fetched and kept
tokens    verification, each token once
"""
