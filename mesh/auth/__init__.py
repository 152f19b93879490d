"""Who a user is, and how the mesh knows: tokens, JWTs signed with ES256.

keys          the issuer's public keys, fetched and kept
tokens        verification, each token once
revocations   sessions that were ended
exchange      access tokens traded for internal ones, at the edge
step_up       a second factor, proven again
audit         what is known of staff before they see anything
"""

from mesh.auth.step_up import STEP_UP_S, require_step_up

__all__ = ["STEP_UP_S", "require_step_up"]
