"""Users' access tokens: JWTs (RFC 9068) signed with ES256.

keys      the issuer's public keys, fetched and kept
tokens    verification, each token once
step_up   a second factor, proven again
"""

from mesh.auth.step_up import STEP_UP_S, require_step_up

__all__ = ["STEP_UP_S", "require_step_up"]
