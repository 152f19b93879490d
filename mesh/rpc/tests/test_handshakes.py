from __future__ import annotations

import pytest

from mesh.rpc.handshakes import reason_of

_HEAD = b"I1125 14:47:42.057355 19817 ssl_transport_security.cc:2563] Handshake failed with error "


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (b"CERTIFICATE_VERIFY_FAILED: certificate has expired", "CERTIFICATE_EXPIRED"),
        (b"CERTIFICATE_VERIFY_FAILED: unable to get local issuer", "CERTIFICATE_UNTRUSTED"),
        (b"PEER_DID_NOT_RETURN_A_CERTIFICATE", "CERTIFICATE_MISSING"),
        (b"WRONG_VERSION_NUMBER", "PLAINTEXT"),
        (b"HTTP_REQUEST", "PLAINTEXT"),
        (b"something new", "OTHER"),
    ],
)
def test_the_words_of_the_core_tell_what_is_wrong(words: bytes, reason: str) -> None:
    assert reason_of(_HEAD + words) == reason


def test_other_lines_are_no_handshakes() -> None:
    assert reason_of(b"I1125 14:47:42 1 chttp2_transport.cc:1403] Got goaway") is None
