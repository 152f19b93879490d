from __future__ import annotations

from pathlib import Path

import pytest

from mesh.cli.develop import LOCKS, locks_are_clean

GOOD = "grpcio==1.85.1 \\\n    --hash=sha256:00\n"


def a_lock(folder: Path, text: str) -> Path:
    for name in LOCKS.values():
        (folder / name).write_text(text)
    return folder


def test_a_lock_of_versions_and_hashes_is_clean(tmp_path: Path) -> None:
    assert locks_are_clean(a_lock(tmp_path, GOOD))


@pytest.mark.parametrize(
    "line",
    [
        "--index-url registry.example",
        "-i registry.example",
        "--find-links wheels",
        "grpcio @ https://registry.example/grpcio.whl \\",
        "grpcio>=1.85 \\",
        "grpcio==1.85.1",
    ],
)
def test_an_address_or_what_is_not_pinned_is_found(
    tmp_path: Path, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert not locks_are_clean(a_lock(tmp_path, f"{GOOD}{line}\n"))
    assert line in capsys.readouterr().out
