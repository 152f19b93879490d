"""Counts peers that are turned away before they can call, by what is wrong with them.

A handshake fails inside gRPC's core, which tells nobody but its log, on standard error: to the
caller it looks like a dead server, and Python never hears of it. So the core's part of standard
error is read here: refused handshakes are counted, errors go where they would have gone, and the
core's other remarks are dropped. Python's own standard error is not touched.
"""

from __future__ import annotations

import os
import re
import sys
import threading
from typing import BinaryIO

from observability import metrics

__all__ = ["reason_of", "watch_handshakes"]

_FAILED = b"Handshake failed with error"
_CORE = re.compile(rb"([IWEF])\d{4} ")
_TOLD = b"EF"

# The words of BoringSSL, which the core passes on.
_REASONS = (
    (b"certificate has expired", "CERTIFICATE_EXPIRED"),
    (b"certificate is not yet valid", "CERTIFICATE_NOT_YET_VALID"),
    (b"CERTIFICATE_VERIFY_FAILED", "CERTIFICATE_UNTRUSTED"),
    (b"PEER_DID_NOT_RETURN_A_CERTIFICATE", "CERTIFICATE_MISSING"),
    (b"WRONG_VERSION_NUMBER", "PLAINTEXT"),
    (b"HTTP_REQUEST", "PLAINTEXT"),
    (b"ALERT_UNKNOWN_CA", "REFUSED_BY_PEER"),
    (b"ALERT_CERTIFICATE", "REFUSED_BY_PEER"),
)


def reason_of(line: bytes) -> str | None:
    """Tells why the handshake failed of which a line of the core's log tells; None for others."""
    if _FAILED not in line:
        return None
    return next((reason for words, reason in _REASONS if words in line), "OTHER")


def watch_handshakes() -> None:
    """Begins to count. Once in a process, before it first uses gRPC."""
    os.environ["GRPC_VERBOSITY"] = "INFO"
    kept = os.dup(2)
    reading, writing = os.pipe()
    sys.stderr = os.fdopen(os.dup(kept), "w", buffering=1, errors="backslashreplace")
    os.dup2(writing, 2)
    os.close(writing)
    lines = os.fdopen(reading, "rb")
    threading.Thread(target=_read, args=(lines, kept), name="handshakes", daemon=True).start()


def _read(lines: BinaryIO, elsewhere: int) -> None:
    told = True
    for line in lines:
        reason = reason_of(line)
        if reason is not None:
            metrics.PEERS_REFUSED.add(1, reason)
        level = _CORE.match(line)
        if level is not None:
            told = level[1] in _TOLD
        # A line without a level belongs to the one before it.
        if told:
            os.write(elsewhere, line)
