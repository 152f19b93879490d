"""SPIFFE ids: what a certificate says of the process that shows it.

Source: the SPIFFE-ID and X509-SVID standards. One trust domain, one path segment: the workload,
which is the name of the service.
"""

from __future__ import annotations

import re
from typing import Any

import grpc

from mesh.errors import InvalidArgument, Unauthenticated

__all__ = ["TRUST_DOMAIN", "spiffe_id", "workload_of", "workload_of_id"]

TRUST_DOMAIN = "bank.local"

_PREFIX = f"spiffe://{TRUST_DOMAIN}/"
_WORKLOAD = re.compile(r"[a-z][a-z0-9-]{0,62}")


def spiffe_id(workload: str) -> str:
    """Makes the id of a workload. Raises `InvalidArgument` for a name that cannot be one."""
    if not _WORKLOAD.fullmatch(workload):
        raise InvalidArgument(
            "WORKLOAD_INVALID",
            "A workload is named by at most 63 small letters, digits and hyphens, a letter first.",
        )
    return _PREFIX + workload


def workload_of_id(uri: str) -> str:
    """Reads the workload from an id. Raises `Unauthenticated` for an id that is not of the mesh."""
    workload = uri.removeprefix(_PREFIX)
    if workload == uri or not _WORKLOAD.fullmatch(workload):
        raise Unauthenticated("PEER_UNKNOWN", "The certificate is not of a workload of the mesh.")
    return workload


def workload_of(context: grpc.aio.ServicerContext[Any, Any]) -> str:
    """Tells which workload calls, by the certificate of its connection.

    Raises `Unauthenticated` when the connection shows no certificate of the mesh.
    """
    for uri in context.auth_context().get("peer_spiffe_id", ()):
        return workload_of_id(uri.decode())
    raise Unauthenticated("PEER_UNKNOWN", "The caller shows no certificate.")
