"""Join tokens: what a process shows to get its certificate.

A token is a JWT (RFC 7519) signed with a secret that only the authority has. It names one workload
and expires. Whoever starts the process puts it into a file of mode 0600.
"""

from __future__ import annotations

import time
from datetime import timedelta
from pathlib import Path

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import OctKey

from mesh.errors import Unauthenticated
from mesh.identity.authority import Authority
from mesh.identity.spiffe import spiffe_id

__all__ = ["authority_directory", "mint_join_token", "trust_bundle_file", "verify_join_token"]

_ALGORITHM = "HS256"
_AUDIENCE = "mesh/join"
_CLAIMS = jwt.JWTClaimsRegistry(
    aud={"essential": True, "value": _AUDIENCE}, exp={"essential": True}, sub={"essential": True}
)


def authority_directory(data_dir: Path) -> Path:
    """Tells where the authority is kept in the control plane's data directory."""
    return data_dir / "authority"


def trust_bundle_file(data_dir: Path) -> Path:
    """Tells where the roots are that the mesh is verified by. Founds the authority if need be."""
    directory = authority_directory(data_dir)
    Authority.open(directory)
    return directory / "bundle.pem"


def mint_join_token(data_dir: Path, workload: str, ttl: timedelta) -> str:
    """Mints a token for a workload, from the control plane's data directory.

    Founds the authority if there is none. Raises `InvalidArgument` for a name that cannot be a
    workload's.
    """
    spiffe_id(workload)
    secret = Authority.open(authority_directory(data_dir)).join_secret
    expires = int(time.time() + ttl.total_seconds())
    claims = {"aud": _AUDIENCE, "sub": workload, "exp": expires}
    return jwt.encode({"alg": _ALGORITHM}, claims, OctKey.import_key(secret))


def verify_join_token(secret: bytes, token: str) -> str:
    """Tells which workload a token names. Raises `Unauthenticated` for one that is not good."""
    try:
        decoded = jwt.decode(token, OctKey.import_key(secret), algorithms=[_ALGORITHM])
        _CLAIMS.validate(decoded.claims)
    except (JoseError, ValueError) as error:
        raise Unauthenticated("JOIN_TOKEN_INVALID", "The join token is not valid.") from error
    return str(decoded.claims["sub"])
