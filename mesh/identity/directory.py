"""The files of an identity: `cert.pem`, `key.pem`, `bundle.pem`, replaced all at once.

gRPC reads the three one after the other, so that replacing them one by one could pair a new key
with an old certificate. Each set is therefore a folder of its own, reached through one symbolic
link which is replaced atomically; the names in the directory are links through it.
"""

from __future__ import annotations

import os
import secrets
import shutil
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

__all__ = ["BUNDLE", "CERTIFICATE", "KEY", "replace_all", "write_private"]

CERTIFICATE = "cert.pem"
KEY = "key.pem"
BUNDLE = "bundle.pem"

_CURRENT = ".current"
_SET = ".set-"
_KEPT_S = 60.0


def write_private(path: Path, content: bytes) -> None:
    """Writes a file of mode 0600, whole or not at all."""
    handle, draft = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(draft, path)
    except BaseException:
        Path(draft).unlink(missing_ok=True)
        raise


def replace_all(directory: Path, files: Mapping[str, bytes]) -> None:
    """Replaces a set of files at once. The directory is made private (0700).

    Several processes may replace the same files; the last one wins. Older sets stay for a while,
    for those who are reading them.
    """
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    directory.chmod(0o700)
    link = directory / _CURRENT
    folder = Path(tempfile.mkdtemp(prefix=_SET, dir=directory))
    for name, content in files.items():
        write_private(folder / name, content)
    _point(link, folder.name)
    for name in files:
        if not (directory / name).is_symlink():
            _point(directory / name, f"{_CURRENT}/{name}")
    _forget_old_sets(directory, link)


def _forget_old_sets(directory: Path, link: Path) -> None:
    long_ago = time.time() - _KEPT_S
    for folder in directory.glob(f"{_SET}*"):
        if folder.name != os.readlink(link) and folder.stat().st_mtime < long_ago:
            shutil.rmtree(folder, ignore_errors=True)


def _point(link: Path, target: str) -> None:
    draft = link.with_name(f".{link.name}-{secrets.token_hex(8)}")
    draft.symlink_to(target)
    os.replace(draft, link)
