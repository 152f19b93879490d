"""The authority as it is on disk now: a change of the root takes effect without a restart."""

from __future__ import annotations

import os
from pathlib import Path

from mesh.identity.authority import Authority
from mesh.identity.directory import BUNDLE

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

    def _marks(self) -> tuple[int, str]:
        bundle = (self.directory / BUNDLE).stat().st_mtime_ns
        return bundle, os.readlink(self.directory / "intermediate" / ".current")
