"""Builds a program in Go, or skips the test where that is not possible."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

__all__ = ["go_program"]


def go_program(source: Path, out: Path) -> Path:
    """Builds the program of a folder; gives the binary."""
    go = shutil.which("go")
    if go is None:
        pytest.skip("Go is not on this machine")
    program = out / source.name
    built = subprocess.run(
        [go, "build", "-o", str(program), "."],
        cwd=source,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    if built.returncode and "dial tcp" in built.stderr:
        pytest.skip("the modules of the Go program cannot be fetched")
    assert built.returncode == 0, built.stderr
    return program
