"""Whether anything secret lies in the files that git keeps."""

from __future__ import annotations

import math
import re
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Final

__all__ = ["findings"]

MARK: Final = "no secret:"
"""A line that says so, and why, is left alone."""

_MOST_BYTES: Final = 2_000_000
_LEAST_BITS: Final = 3.6
"""Of entropy a character: English has about 4.1 over its letters, but words are short."""

_KINDS: Final = {
    "a private key": re.compile(r"^\W{0,4}-----BEGIN (?:[A-Z]+ )?PRIVATE KEY-----(?:\\n\w|$)"),
    "a key of a cloud": re.compile(r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b|\bAIza[0-9A-Za-z_-]{35}\b"),
    "a token of a forge": re.compile(
        r"\bgh[pousr]_[0-9A-Za-z]{36}\b|\bgithub_pat_\w{60,}|\bglpat-[\w-]{20}"
    ),
    "a token of a chat or a shop": re.compile(
        r"\bxox[abprs]-[\w-]{10,}|\bsk_live_[0-9A-Za-z]{16,}"
    ),
    "a signed token": re.compile(r"\beyJ[\w-]{10,}\.eyJ[\w-]{10,}\.[\w-]{20,}"),
    "a password in an address": re.compile(
        r"\w://[^\s/:@{}$<>*]+:(?!(?i:password)@|\*+@)[^\s/:@{}$<>]{8,}@"
    ),
}
_ASSIGNED: Final = re.compile(
    r"(?i)(?:password|passwd|secret|token|api_?key|private_?key|credential)\w*[\"']?\s*[:=]\s*"
    r"[\"']?([A-Za-z0-9+/=_-]{20,})(?![A-Za-z0-9+/=_.(-])"
)


def findings(root: Path) -> Iterator[str]:
    """Looks through every file that git keeps; tells `file:line: what`, and not the secret."""
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=root, capture_output=True, check=True
    ).stdout.decode()
    for name in filter(None, listed.split("\0")):
        path = root / name
        # A lock is all hashes; what is generated says what contracts say.
        if path.suffix == ".lock" or "gen" in path.parts or not path.is_file():
            continue
        content = path.read_bytes()[:_MOST_BYTES]
        if b"\0" not in content:
            yield from _in(name, content.decode("utf-8", "replace"))


def _in(name: str, text: str) -> Iterator[str]:
    for number, line in enumerate(text.splitlines(), 1):
        if MARK in line:
            continue
        for kind, pattern in _KINDS.items():
            if pattern.search(line):
                yield f"{name}:{number}: {kind}"
        for found in _ASSIGNED.finditer(line):
            if _is_random(found[1]):
                yield f"{name}:{number}: something random that is called a secret"


def _is_random(word: str) -> bool:
    """Whether a word looks made by a machine: characters of several kinds, spread evenly."""
    kinds = [any(test(each) for each in word) for test in (str.islower, str.isupper, str.isdigit)]
    bits = -sum(n / len(word) * math.log2(n / len(word)) for n in Counter(word).values())
    is_hex = re.fullmatch(r"[0-9a-f]{32,}", word) is not None
    return (bits >= _LEAST_BITS and sum(kinds) >= 3) or (is_hex and bits > 3)
