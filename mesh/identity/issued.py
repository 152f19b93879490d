"""The register of issued certificates: a line of JSON for each, in the authority's directory, or
in the data directory of a control plane that is given the authority as a secret.

It is how an operator sees who has what, and how a change of the root knows whom to wait for.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256

from mesh.identity.authority import Authority, Issued
from mesh.identity.directory import write_private

__all__ = ["Entry", "fingerprint", "fingerprint_of_issuer", "good_entries", "note", "tidy"]

_FILE = "issued.jsonl"
_SHORT = 16


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A certificate: whose, until when (seconds since 1970), by whom, and whom it was told to
    trust: fingerprints of the issuer and of the bundle.
    """

    workload: str
    serial: str
    issued_at: float
    expires_at: float
    issuer: str
    bundle: str


def note(directory: Path, authority: Authority, workload: str, issued: Issued) -> None:
    """Adds a certificate to the register."""
    leaf = x509.load_pem_x509_certificate(issued.chain_pem)
    entry = Entry(
        workload=workload,
        serial=f"{leaf.serial_number:x}",
        issued_at=datetime.now(UTC).timestamp(),
        expires_at=issued.expires_at.timestamp(),
        issuer=fingerprint_of_issuer(authority.intermediate),
        bundle=fingerprint(authority.trust_bundle),
    )
    line = json.dumps(asdict(entry)).encode() + b"\n"
    # One write of one line: lines of several processes do not mix.
    file = os.open(directory / _FILE, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        os.write(file, line)
    finally:
        os.close(file)


def good_entries(directory: Path) -> list[Entry]:
    """Lists the certificates that have not expired, the newest first."""
    now = datetime.now(UTC).timestamp()
    found = [entry for entry in _read(directory) if entry.expires_at > now]
    return sorted(found, key=lambda entry: entry.issued_at, reverse=True)


def tidy(directory: Path) -> None:
    """Forgets those that have expired."""
    if (directory / _FILE).exists():
        lines = (json.dumps(asdict(entry)) for entry in reversed(good_entries(directory)))
        write_private(directory / _FILE, "".join(f"{line}\n" for line in lines).encode())


def fingerprint(content: bytes) -> str:
    """Names some bytes, shortly."""
    return sha256(content).hexdigest()[:_SHORT]


def fingerprint_of_issuer(certificate: x509.Certificate) -> str:
    """Names a certificate, shortly."""
    return certificate.fingerprint(SHA256()).hex()[:_SHORT]


def _read(directory: Path) -> Iterable[Entry]:
    try:
        lines = (directory / _FILE).read_text().splitlines()
    except FileNotFoundError:
        return
    for line in lines:
        try:
            yield Entry(**json.loads(line))
        except (ValueError, TypeError):
            # The last line of a process that was killed while it wrote.
            continue
