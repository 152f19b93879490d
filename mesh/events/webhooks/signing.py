"""The signature of a message: HMAC-SHA256 over its time and its body.

    Webhook-Signature: t=1767225600,v1=<hex>,v1=<hex of the former secret>

Who receives a message checks one `v1` over `<t>.<body>` with its secret, and that `t` is not long
ago, so that a message cannot be played again. While a secret is exchanged for another, messages
carry a signature of both.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from collections.abc import Iterable
from typing import Final

__all__ = ["SIGNATURE_HEADER", "TOLERANCE_S", "is_signed", "new_secret", "sign"]

SIGNATURE_HEADER: Final = "Webhook-Signature"

TOLERANCE_S: Final = 300
"""How old a message may be, and how far ahead of the receiver's clock."""


def new_secret() -> str:
    """Makes a secret of 256 bits."""
    return "whsec_" + base64.urlsafe_b64encode(secrets.token_bytes(32)).decode().rstrip("=")


def sign(body: bytes, keys: Iterable[str], at_s: int) -> str:
    """Makes the header of a message that is sent at a time, in seconds since 1970."""
    return ",".join([f"t={at_s}", *(f"v1={_mac(body, key, at_s)}" for key in keys)])


def is_signed(body: bytes, header: str, key: str, now_s: int) -> bool:
    """Tells whether a message is from who has the secret, and new."""
    pairs = [pair.partition("=")[::2] for pair in header.split(",")]
    times = [value for name, value in pairs if name == "t"]
    if len(times) != 1 or not times[0].isdecimal() or len(times[0]) > 12:
        return False
    at_s = int(times[0])
    if abs(now_s - at_s) > TOLERANCE_S:
        return False
    wanted = _mac(body, key, at_s)
    given = [value for name, value in pairs if name == "v1"]
    return any(hmac.compare_digest(wanted.encode(), each.encode()) for each in given)


def _mac(body: bytes, key: str, at_s: int) -> str:
    return hmac.new(key.encode(), f"{at_s}.".encode() + body, hashlib.sha256).hexdigest()
