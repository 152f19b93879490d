"""The second line of defence against personal data in telemetry: patterns are masked.

The first line is that callers pass facts which are not personal. What is matched here: CPF and
CNPJ numbers, formatted or bare, and e-mail addresses. Names cannot be matched.
"""

from __future__ import annotations

import re
from typing import Final

__all__ = ["mask"]

_SUSPECT: Final = re.compile(r"@|[0-9]{3}\.?[0-9]{3}")
# Bounded as RFC 5321 bounds them (4.5.3.1), so that a long word costs no more than its length.
_EMAIL: Final = re.compile(r"[\w.+%-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63}){0,8}")
_CNPJ: Final = re.compile(r"(?<![\w.-])\d{2}\.?\d{3}\.?\d{3}/?\d{4}-?\d{2}(?![\w-])(?!\.\d)")
_CPF: Final = re.compile(r"(?<![\w.-])\d{3}\.?\d{3}\.?\d{3}-?\d{2}(?![\w-])(?!\.\d)")

_MAX_CLEAN: Final = 4_096
_clean: set[str] = set()


def mask(text: str) -> str:
    """Replaces what looks like a CPF, a CNPJ or an e-mail address; the last two digits stay.

    Short texts that were clean are remembered, and UUIDs are let through: most texts are either.
    """
    if text in _clean or (len(text) == 36 and text[8] == text[13] == text[18] == text[23] == "-"):
        return text
    if _SUSPECT.search(text) is not None:
        masked = _mask(text)
        if masked != text:
            return masked
    if len(text) <= 80:
        if len(_clean) >= _MAX_CLEAN:
            _clean.clear()
        _clean.add(text)
    return text


def _mask(text: str) -> str:
    text = _EMAIL.sub("***@***", text)
    text = _CNPJ.sub(lambda match: f"**.***.***/****-{match[0][-2:]}", text)
    return _CPF.sub(lambda match: f"***.***.***-{match[0][-2:]}", text)
