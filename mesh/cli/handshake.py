"""What a server shows in its TLS handshake: tried as the operator, and as nobody.

The names of a mesh's certificates are SPIFFE ids, not host names; they are compared here.
"""

from __future__ import annotations

import socket
import ssl
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from mesh.cli.control import Identity

__all__ = ["Shown", "handshake"]

PATIENCE_S = 3.0


@dataclass(frozen=True)
class Shown:
    """What became of the handshakes with one server.

    `problem` says in words why the mesh's roots do not trust it, and is empty when they do;
    `is_mutual` whether it refuses a peer without a certificate.
    """

    problem: str = ""
    workload: str = ""
    life: timedelta = timedelta()
    left: timedelta = timedelta()
    is_mutual: bool = False


def handshake(address: str, identity: Identity) -> Shown:
    """Shakes hands with a server of the mesh, with the operator's certificate and without any."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.load_verify_locations(identity.roots)
    context.set_alpn_protocols(["h2"])
    try:
        is_mutual = not _answers(address, context)
        context.load_cert_chain(identity.certificate, identity.key)
        with _connected(address, context) as connection:
            return _shown(connection.getpeercert(binary_form=True) or b"", is_mutual)
    except OSError as error:
        return Shown(problem=str(error))


def _answers(address: str, context: ssl.SSLContext) -> bool:
    """Tells whether the server speaks to whoever this context makes us."""
    try:
        with _connected(address, context) as connection:
            # HTTP/2 servers speak first; with TLS 1.3 a refusal comes after the handshake.
            return bool(connection.recv(1))
    except (ssl.SSLError, ConnectionError):
        return False


def _connected(address: str, context: ssl.SSLContext) -> ssl.SSLSocket:
    host, _, port = address.rpartition(":")
    plain = socket.create_connection((host.strip("[]"), int(port)), PATIENCE_S)
    try:
        return context.wrap_socket(plain)
    except BaseException:
        plain.close()
        raise


def _shown(certificate: bytes, is_mutual: bool) -> Shown:
    from cryptography import x509

    from mesh.errors import Unauthenticated
    from mesh.identity.spiffe import workload_of_id

    leaf = x509.load_der_x509_certificate(certificate)
    life = leaf.not_valid_after_utc - leaf.not_valid_before_utc
    left = leaf.not_valid_after_utc - datetime.now(UTC)
    try:
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        (uri,) = names.get_values_for_type(x509.UniformResourceIdentifier)
        workload = workload_of_id(uri)
    except (x509.ExtensionNotFound, ValueError, Unauthenticated):
        return Shown(problem="its certificate names no workload of the mesh", is_mutual=is_mutual)
    return Shown(workload=workload, life=life, left=left, is_mutual=is_mutual)
