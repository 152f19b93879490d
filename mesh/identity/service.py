"""`meshapi.v1.IdentityService`: issues certificates against join tokens."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from mesh.errors import InvalidArgument, Refused
from mesh.identity.issued import note
from mesh.identity.join import verify_join_token
from mesh.identity.live import LiveAuthority
from mesh.identity.refusal import refuse
from meshapi.v1 import identity_pb2 as pb
from meshapi.v1.identity_pb2_grpc import IdentityServiceServicer

__all__ = ["IdentityService"]


class IdentityService(IdentityServiceServicer):
    """Issues a certificate to whoever shows a join token, for the workload that the token names.

    `register` is the directory where it notes what it has issued.
    """

    def __init__(self, live: LiveAuthority, ttl: timedelta, register: Path) -> None:
        self._live = live
        self._ttl = ttl
        self._register = register

    async def IssueCertificate(
        self, request: pb.IssueCertificateRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> pb.IssueCertificateResponse:
        authority = await asyncio.to_thread(self._live.now)
        try:
            workload = verify_join_token(authority.join_secret, request.join_token)
            issued = authority.issue(workload, _public_key(request.csr_pem), self._ttl)
        except Refused as error:
            await refuse(context, error)
        await asyncio.to_thread(note, self._register, authority, workload, issued)
        response = pb.IssueCertificateResponse(
            certificate_chain_pem=issued.chain_pem.decode(),
            trust_bundle_pem=authority.trust_bundle.decode(),
        )
        response.expires_at.FromDatetime(issued.expires_at)
        return response


def _public_key(csr_pem: str) -> ec.EllipticCurvePublicKey:
    try:
        csr = x509.load_pem_x509_csr(csr_pem.encode())
        key = csr.public_key()
        signed = csr.is_signature_valid
    except ValueError as error:
        raise InvalidArgument("CSR_INVALID", "The signing request cannot be read.") from error
    if not signed:
        raise InvalidArgument("CSR_INVALID", "The signing request is not signed by its own key.")
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise InvalidArgument("CSR_INVALID", "The key must be ECDSA P-256.")
    return key
