"""The certificate authority of the mesh: a root, an intermediate, and what they issue.

All keys are ECDSA P-256. The root signs nothing but intermediates: once the intermediate exists,
`root/` may be taken off the machine, and is missed only when the intermediate must be renewed.
Workloads' certificates name a SPIFFE id and nothing else; only the control plane's own carries host
names, so no workload can pass for it.

Files, all of mode 0600: `root/` and `intermediate/`, each a `cert.pem` with its `key.pem`;
`bundle.pem` (the roots that peers are verified by; more than one while roots change); `join.key`
(signs join tokens).
"""

from __future__ import annotations

import ipaddress
import secrets
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from mesh.identity.directory import CERTIFICATE, KEY, replace_all, write_private
from mesh.identity.spiffe import TRUST_DOMAIN, spiffe_id

__all__ = ["BACKDATING", "Authority", "Issued", "new_intermediate", "new_key", "new_root", "pem_of"]

_ROOT_LIFE = timedelta(days=3650)
_INTERMEDIATE_LIFE = timedelta(days=365)
_INTERMEDIATE_RENEWAL = timedelta(days=90)
# Peers' clocks may be behind ours.
BACKDATING = timedelta(minutes=5)


@dataclass(frozen=True)
class Issued:
    """A certificate: the leaf and its intermediate in PEM, and when the leaf expires."""

    chain_pem: bytes
    expires_at: datetime


@dataclass(frozen=True, kw_only=True)
class Authority:
    """Issues the certificates of the mesh; `join_secret` signs join tokens."""

    intermediate: x509.Certificate
    key: ec.EllipticCurvePrivateKey
    trust_bundle: bytes
    join_secret: bytes

    @classmethod
    def open(cls, directory: Path) -> Authority:
        """Reads the authority, and founds it first when there is none.

        Safe to call from several processes at once: one founds it, all read the same.
        """
        if not directory.exists():
            _found(directory)
        kept = directory / "intermediate"
        intermediate = x509.load_pem_x509_certificate((kept / CERTIFICATE).read_bytes())
        if _now() > intermediate.not_valid_after_utc - _INTERMEDIATE_RENEWAL:
            intermediate = _renew_intermediate(directory, intermediate)
        return cls(
            intermediate=intermediate,
            key=_read_key(kept / KEY),
            trust_bundle=(directory / "bundle.pem").read_bytes(),
            join_secret=(directory / "join.key").read_bytes(),
        )

    def issue(
        self,
        workload: str,
        public_key: ec.EllipticCurvePublicKey,
        ttl: timedelta,
        host_names: Sequence[str] = (),
    ) -> Issued:
        """Issues a certificate for a workload; with host names only for the control plane.

        Raises `InvalidArgument` for a name that cannot be a workload's.
        """
        names: list[x509.GeneralName] = [x509.UniformResourceIdentifier(spiffe_id(workload))]
        names += [_host(name) for name in host_names]
        expires_at = min(_now() + ttl, self.intermediate.not_valid_after_utc)
        usage = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
        leaf = (
            # No common name: a host name there would count as one where no DNS name is present.
            _builder(_name("workload"), self.intermediate.subject, public_key, expires_at)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_key_usage(signs_certificates=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage(usage), critical=False)
            .add_extension(_issuer_id(self.intermediate), critical=False)
            .sign(self.key, SHA256())
        )
        chain = leaf.public_bytes(Encoding.PEM) + self.intermediate.public_bytes(Encoding.PEM)
        return Issued(chain, leaf.not_valid_after_utc)


def new_key() -> ec.EllipticCurvePrivateKey:
    """Makes a private key: ECDSA P-256."""
    return ec.generate_private_key(ec.SECP256R1())


def pem_of(key: ec.EllipticCurvePrivateKey) -> bytes:
    """Writes a private key as PKCS #8 in PEM, unencrypted: its file is what protects it."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def new_root(directory: Path) -> None:
    """Makes a root, and keeps it in a directory."""
    key = new_key()
    subject = _name("root")
    root = _authority_certificate(subject, subject, key, key.public_key(), _ROOT_LIFE, 1)
    _keep_pair(directory, root, key)


def new_intermediate(directory: Path, root: Path) -> None:
    """Has a root sign a new intermediate, and keeps it in a directory."""
    _sign_intermediate(directory, root, new_key())


def _found(directory: Path) -> None:
    directory.parent.mkdir(parents=True, exist_ok=True)
    # Founded beside its place and moved there whole: no crash leaves half an authority behind,
    # and of two founders one wins.
    draft = Path(tempfile.mkdtemp(prefix=f".{directory.name}-", dir=directory.parent))
    try:
        new_root(draft / "root")
        new_intermediate(draft / "intermediate", draft / "root")
        write_private(draft / "bundle.pem", (draft / "root" / CERTIFICATE).read_bytes())
        write_private(draft / "join.key", secrets.token_bytes(32))
        try:
            draft.rename(directory)
        except OSError:
            if not directory.exists():
                raise
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _renew_intermediate(directory: Path, old: x509.Certificate) -> x509.Certificate:
    """Signs the same key again. Without the root's key the old certificate goes on to its end."""
    root = directory / "root"
    if not (root / KEY).exists():
        return old
    key = _read_key(directory / "intermediate" / KEY)
    return _sign_intermediate(directory / "intermediate", root, key)


def _sign_intermediate(
    directory: Path, root: Path, key: ec.EllipticCurvePrivateKey
) -> x509.Certificate:
    issuer = x509.load_pem_x509_certificate((root / CERTIFICATE).read_bytes())
    issuer_key = _read_key(root / KEY)
    signed = _authority_certificate(
        _name("intermediate"), issuer.subject, issuer_key, key.public_key(), _INTERMEDIATE_LIFE, 0
    )
    _keep_pair(directory, signed, key)
    return signed


def _keep_pair(
    directory: Path, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey
) -> None:
    files = {CERTIFICATE: certificate.public_bytes(Encoding.PEM), KEY: pem_of(key)}
    replace_all(directory, files)


def _authority_certificate(
    subject: x509.Name,
    issuer: x509.Name,
    issuer_key: ec.EllipticCurvePrivateKey,
    public_key: ec.EllipticCurvePublicKey,
    life: timedelta,
    path_length: int,
) -> x509.Certificate:
    issuer_id = x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key())
    return (
        _builder(subject, issuer, public_key, _now() + life)
        .add_extension(x509.BasicConstraints(ca=True, path_length=path_length), critical=True)
        .add_extension(_key_usage(signs_certificates=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
        .add_extension(issuer_id, critical=False)
        .sign(issuer_key, SHA256())
    )


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    public_key: ec.EllipticCurvePublicKey,
    expires_at: datetime,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(_now() - BACKDATING)
        .not_valid_after(expires_at)
    )


def _name(unit: str) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, TRUST_DOMAIN),
            x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, unit),
        ]
    )


def _host(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _issuer_id(issuer: x509.Certificate) -> x509.AuthorityKeyIdentifier:
    key_id = issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(key_id)


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _read_key(path: Path) -> ec.EllipticCurvePrivateKey:
    key = load_pem_private_key(path.read_bytes(), password=None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise ValueError(f"{path} holds no elliptic curve key")
    return key


def _now() -> datetime:
    return datetime.now(UTC)
