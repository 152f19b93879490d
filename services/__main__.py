"""The `bank` command: hands the bank's services and its own commands to the mesh's."""

from __future__ import annotations

import sys
from pathlib import Path

from mesh.cli.main import run
from mesh.supervisor.project import Project
from services.commands import demo, ledger, people

ROOT = Path(__file__).resolve().parents[1]
VERSION = "0.1.0"

BANK = Project(
    name="bank",
    version=VERSION,
    root=ROOT,
    services=(
        "users",
        "accounts",
        "transfers",
        "pix",
        "suppliers",
        "statements",
        "support",
        "notifications",
        "bff",
    ),
    edge="bff",
    contracts=("bank",),
    commands=(demo.register, ledger.register, people.register),
    checks={"ledger": ledger.check},
)

if __name__ == "__main__":
    sys.exit(run(BANK))
