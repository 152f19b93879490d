"""A process's own identity: obtained at the start, renewed at half its life, given to gRPC.

The certificate lies in files, because gRPC's xDS client reads files. A certificate that is still
good is used again after a restart, so that a process starts while the control plane is down.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import cast

import grpc
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key

from mesh.identity.authority import BACKDATING, new_key, pem_of
from mesh.identity.directory import BUNDLE, CERTIFICATE, KEY, replace_all
from mesh.identity.spiffe import spiffe_id, workload_of, workload_of_id
from meshapi.v1 import identity_pb2 as pb
from meshapi.v1.identity_pb2_grpc import IdentityServiceStub

__all__ = [
    "Credentials",
    "WorkloadIdentity",
    "rotating_credentials",
    "spiffe_id",
    "workload_of",
    "workload_of_id",
]

_log = logging.getLogger(__name__)

_ASK_TIMEOUT_S = 5.0
_FIRST_PAUSE_S = 0.05
_LAST_PAUSE_S = 2.0
_LEAST_PAUSE_S = 1.0
# A certificate with less to live is not worth starting with.
_LEAST_LIFE = timedelta(minutes=1)


@dataclass(frozen=True)
class Credentials:
    """A certificate with its key, in PEM, and what peers are verified by."""

    chain_pem: bytes
    key_pem: bytes
    bundle_pem: bytes

    def leaf(self) -> x509.Certificate:
        """Reads the certificate itself."""
        return x509.load_pem_x509_certificate(self.chain_pem)


def rotating_credentials(
    first: grpc.ServerCertificateConfiguration,
    renewed: Callable[[], grpc.ServerCertificateConfiguration | None],
    *,
    mutual: bool,
) -> grpc.ServerCredentials:
    """Makes server credentials that ask before each handshake what is new: None means nothing.

    `renewed` is called in a thread of gRPC. When it raises, the certificate stays as it is.
    """
    # The stubs know nothing of None; gRPC does.
    fetch = cast("Callable[[], grpc.ServerCertificateConfiguration]", renewed)
    return grpc.dynamic_ssl_server_credentials(first, fetch, require_client_authentication=mutual)


class WorkloadIdentity:
    """The identity of this process.

    `await obtain()` first; then let a task of the process run `keep()`, which never returns.
    `problem` says in words what is in the way, and is empty when nothing is.
    """

    def __init__(
        self,
        workload: str,
        *,
        directory: Path,
        address: str,
        join_token_file: Path,
        trust_bundle_file: Path,
    ) -> None:
        self.workload = workload
        self.directory = directory
        self.problem = "not obtained yet"
        self._id = spiffe_id(workload)
        self._address = address
        self._join_token_file = join_token_file
        self._trust_bundle_file = trust_bundle_file
        self._credentials: Credentials | None = None

    @property
    def expires_at(self) -> datetime:
        """When the certificate expires. Raises `LookupError` when there is none."""
        return self._current().leaf().not_valid_after_utc

    @property
    def life_s(self) -> float:
        """For how many seconds a certificate is good when it is new; 0.0 if there is none."""
        if self._credentials is None:
            return 0.0
        leaf = self._credentials.leaf()
        life = leaf.not_valid_after_utc - leaf.not_valid_before_utc - BACKDATING
        return max(life.total_seconds(), 1.0)

    async def obtain(self) -> None:
        """Waits until there is a good certificate: that of the last run, or a new one.

        Asks for ever, with pauses of at most two seconds.
        """
        kept = await asyncio.to_thread(self._kept)
        if kept is not None:
            self._credentials = kept
            self.problem = ""
            return
        await self._renew()

    async def keep(self) -> None:
        """Renews the certificate when half of its rest is over, for as long as it runs."""
        while True:
            rest_s = (self.expires_at - datetime.now(UTC)).total_seconds()
            # Spread, so that processes started together do not ask together.
            share = random.uniform(0.45, 0.5)  # noqa: S311
            await asyncio.sleep(max(rest_s * share, _LEAST_PAUSE_S))
            await self._renew()

    def server_credentials(self) -> grpc.ServerCredentials:
        """Makes credentials for a server: peers must show a certificate of the mesh.

        A renewed certificate is shown from the next handshake on.
        """
        given = self._current()

        def renewed() -> grpc.ServerCertificateConfiguration | None:
            nonlocal given
            if self._current() is given:
                return None
            given = self._current()
            return _server_configuration(given)

        return rotating_credentials(_server_configuration(given), renewed, mutual=True)

    def channel_credentials(self) -> grpc.ChannelCredentials:
        """Makes credentials for a direct channel, from the certificate of this moment.

        The peer's host name must be in its certificate: only the control plane has one.
        """
        now = self._current()
        return grpc.ssl_channel_credentials(now.bundle_pem, now.key_pem, now.chain_pem)

    def _current(self) -> Credentials:
        if self._credentials is None:
            raise LookupError("the identity has not been obtained yet")
        return self._credentials

    def _kept(self) -> Credentials | None:
        try:
            kept = Credentials(
                *((self.directory / name).read_bytes() for name in (CERTIFICATE, KEY, BUNDLE))
            )
            roots = x509.load_pem_x509_certificates(self._trust_bundle_file.read_bytes())
            return kept if _is_good(kept, self._id, roots) else None
        except (OSError, ValueError):
            return None

    async def _renew(self) -> None:
        pause = _FIRST_PAUSE_S
        while True:
            try:
                credentials = await self._ask()
                files = {
                    CERTIFICATE: credentials.chain_pem,
                    KEY: credentials.key_pem,
                    BUNDLE: credentials.bundle_pem,
                }
                await asyncio.to_thread(replace_all, self.directory, files)
            except grpc.aio.AioRpcError as error:
                self._complain(f"{error.code().name}: {error.details()}")
            except OSError as error:
                self._complain(f"{error.strerror}: {error.filename}")
            else:
                self._credentials = credentials
                self.problem = ""
                _log.info("identity obtained", extra={"workload": self.workload})
                return
            await asyncio.sleep(random.uniform(pause / 2, pause))  # noqa: S311
            pause = min(pause * 2, _LAST_PAUSE_S)

    async def _ask(self) -> Credentials:
        bundle = await asyncio.to_thread(self._trust_bundle_file.read_bytes)
        token = await asyncio.to_thread(self._join_token_file.read_text)
        key = new_key()
        request = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
        csr = request.sign(key, SHA256()).public_bytes(Encoding.PEM)
        async with grpc.aio.secure_channel(
            self._address, grpc.ssl_channel_credentials(bundle)
        ) as channel:
            given = await IdentityServiceStub(channel).IssueCertificate(
                pb.IssueCertificateRequest(join_token=token.strip(), csr_pem=csr.decode()),
                timeout=_ASK_TIMEOUT_S,
            )
        return Credentials(
            given.certificate_chain_pem.encode(), pem_of(key), given.trust_bundle_pem.encode()
        )

    def _complain(self, problem: str) -> None:
        # Once for each problem: the pauses are short, and a log that repeats itself is not read.
        if problem != self.problem:
            level = logging.ERROR if self._is_late() else logging.WARNING
            _log.log(level, "no identity: %s", problem, extra={"workload": self.workload})
        self.problem = problem

    def _is_late(self) -> bool:
        """Tells whether a third of the certificate's life, or less, is left."""
        if self._credentials is None:
            return False
        leaf = self._credentials.leaf()
        life = leaf.not_valid_after_utc - leaf.not_valid_before_utc
        return leaf.not_valid_after_utc - datetime.now(UTC) < life / 3


def _server_configuration(credentials: Credentials) -> grpc.ServerCertificateConfiguration:
    return grpc.ssl_server_certificate_configuration(
        [(credentials.key_pem, credentials.chain_pem)], root_certificates=credentials.bundle_pem
    )


def _is_good(kept: Credentials, wanted_id: str, roots: list[x509.Certificate]) -> bool:
    """Tells whether a certificate is ours, of an authority that is trusted now, and lives on."""
    leaf, *issuers = x509.load_pem_x509_certificates(kept.chain_pem)
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    ids = names.get_values_for_type(x509.UniformResourceIdentifier)
    key = load_pem_private_key(kept.key_pem, password=None)
    if ids != [wanted_id] or key.public_key() != leaf.public_key():
        return False
    if leaf.not_valid_after_utc - datetime.now(UTC) < _LEAST_LIFE:
        return False
    certificate = leaf
    for issuer in issuers:
        if not _issued_by(certificate, issuer):
            return False
        certificate = issuer
    return any(_issued_by(certificate, root) for root in roots)


def _issued_by(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(issuer)
    except (InvalidSignature, ValueError, TypeError):
        return False
    return True
