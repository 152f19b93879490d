"""The script at the root: finds a Python, keeps the environment in step with the locks."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LOCKS = ("requirements.lock", "requirements-dev.lock")
TOOLS = ("sh", "cat", "cksum", "dirname", "mkdir", "rm", "sleep", "tr", "readlink")

# Stands for the environment's Python: says how it was called, and in which environment.
PYTHON = '#!/bin/sh\necho "$PYTHONPATH$@"\n'


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout with an environment that is in step with its locks."""
    root = tmp_path / "a checkout"
    interpreter = root / ".venv/bin/python"
    interpreter.parent.mkdir(parents=True)
    interpreter.write_text(PYTHON)
    interpreter.chmod(0o755)
    shutil.copy(ROOT / "bank", root)
    for name in LOCKS:
        shutil.copy(ROOT / name, root)
        text = (root / name).read_bytes()
        done = subprocess.run(["cksum"], input=text, capture_output=True, check=True)
        stamp = done.stdout.decode().replace(" ", "-")
        (root / ".venv" / f"{name}.stamp").write_text(stamp)
    return root


def bank(script: Path, *arguments: str, **changes: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(script), *arguments],
        cwd="/",
        env={**os.environ, **changes},
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_an_environment_in_step_is_used_at_once_from_any_directory(checkout: Path) -> None:
    done = bank(checkout / "bank", "call", "a b", '{"c": 1}')

    assert done.stdout == '-m services call a b {"c": 1}\n'
    assert done.stderr == ""


def test_it_may_be_called_through_a_link(checkout: Path, tmp_path: Path) -> None:
    link = tmp_path / "bank"
    link.symlink_to(checkout / "bank")

    assert bank(link, "version").stdout == "-m services version\n"


def test_another_projects_packages_do_not_come_before_ours(checkout: Path) -> None:
    assert bank(checkout / "bank", "version", PYTHONPATH="/elsewhere").stdout == (
        "-m services version\n"
    )


@pytest.mark.parametrize("command", ["test", "lint", "protos"])
def test_what_only_contributors_need_is_looked_at_only_for_them(
    checkout: Path, command: str
) -> None:
    (checkout / ".venv/requirements-dev.lock.stamp").unlink()

    assert bank(checkout / "bank", "demo").stdout == "-m services demo\n"
    assert "installing requirements-dev.lock" in bank(checkout / "bank", command).stderr


def test_without_a_python_it_says_so_in_three_lines(checkout: Path, tmp_path: Path) -> None:
    shutil.rmtree(checkout / ".venv")
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in TOOLS:
        found = shutil.which(name)
        assert found is not None
        (tools / name).symlink_to(found)

    done = bank(checkout / "bank", "demo", PATH=str(tools))

    assert done.returncode == 1
    assert done.stderr.splitlines()[0] == "error: no Python was found"
    assert [line[:7] for line in done.stderr.splitlines()[1:]] == ["  why: ", "  try: "]
    assert not (checkout / ".venv.lock").exists()
