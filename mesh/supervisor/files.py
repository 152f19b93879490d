"""Files that only their owner may read."""

from __future__ import annotations

import os
import secrets
import tempfile
from pathlib import Path

__all__ = ["password", "write_private"]

_PASSWORD_BYTES = 24


def write_private(path: Path, text: str) -> None:
    """Writes a file that only its owner may read, whole or not at all."""
    handle, draft = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
    try:
        with os.fdopen(handle, "w") as file:
            file.write(text)
        os.replace(draft, path)
    except BaseException:
        Path(draft).unlink(missing_ok=True)
        raise


def password(path: Path) -> str:
    """Reads a password, and makes it up first if there is none."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_private(path, secrets.token_urlsafe(_PASSWORD_BYTES))
    return path.read_text()
