"""Disks of a test's own: one whose power can be cut, one that can be full. They need root."""

from __future__ import annotations

import fcntl
import os
import shutil
import struct
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest

__all__ = ["Disk", "a_disk", "a_small_disk", "needs_root"]

# FS_IOC_SHUTDOWN with EXT4_GOING_FLAGS_NOLOGFLUSH: from that instant on nothing reaches the disk,
# neither dirty pages nor the journal, as when the power is cut (xfstests use it for that).
_SHUTDOWN: Final = 0x8004587D
_NO_LOG_FLUSH: Final = struct.pack("I", 2)

needs_root = pytest.mark.skipif(
    os.geteuid() != 0
    or shutil.which("mkfs.ext4") is None
    or not Path("/dev/loop-control").exists(),
    reason="cutting the power of a disk needs root, loop devices and mkfs.ext4",
)


class Disk:
    """An ext4 file system in an image of its own, mounted at `path`."""

    def __init__(self, image: Path, path: Path) -> None:
        self._image = image
        self.path = path

    def mount(self) -> None:
        """Mounts it; its journal is replayed, as after a start of the machine."""
        _run("mount", "-o", "loop", self._image, self.path)

    def unmount(self) -> None:
        """Lets it go; what was not synced before a power cut is lost."""
        _run("umount", self.path)

    def cut_power(self) -> None:
        """Loses what only the page cache has. Whoever writes now, fails."""
        handle = os.open(self.path, os.O_RDONLY)
        try:
            fcntl.ioctl(handle, _SHUTDOWN, _NO_LOG_FLUSH)
        finally:
            os.close(handle)


@contextmanager
def a_disk(folder: Path, megabytes: int = 512) -> Iterator[Disk]:
    """Makes a disk in a folder, and mounts it there."""
    image, path = folder / "disk.img", folder / "disk"
    path.mkdir()
    with image.open("wb") as file:
        file.truncate(megabytes << 20)
    _run("mkfs.ext4", "-q", "-F", image)
    disk = Disk(image, path)
    disk.mount()
    try:
        yield disk
    finally:
        subprocess.run(["umount", path], check=False, capture_output=True)


@contextmanager
def a_small_disk(path: Path, megabytes: int) -> Iterator[Path]:
    """Mounts a disk that is soon full."""
    path.mkdir(parents=True)
    _run("mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", path)
    try:
        yield path
    finally:
        subprocess.run(["umount", path], check=False, capture_output=True)


def _run(*command: str | Path) -> None:
    subprocess.run(command, check=True, capture_output=True, timeout=30)
