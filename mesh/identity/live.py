"""The authority as it is on disk now: a change of the root takes effect without a restart."""

from __future__ import annotations

from pathlib import Path

from mesh.identity.authority import Authority
from mesh.identity.directory import BUNDLE, CERTIFICATE

__all__ = ["LiveAuthority"]


class LiveAuthority:
    """Gives the authority, read anew when its bundle or its intermediate was replaced."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._authority = Authority.open(directory)
        self._seen = self._marks()

    def now(self) -> Authority:
        """Gives the authority. While its files cannot be read, the one before."""
        try:
            marks = self._marks()
            if marks != self._seen:
                self._authority = Authority.open(self.directory)
                self._seen = marks
        except (OSError, ValueError):
            pass
        return self._authority

    def _marks(self) -> list[tuple[int, int]]:
        """Tells which files they are. Where they come from a secret, there is no link to read."""
        files = (self.directory / BUNDLE, self.directory / "intermediate" / CERTIFICATE)
        return [(found.st_ino, found.st_mtime_ns) for found in (file.stat() for file in files)]
