from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from mesh.cli.control import LIFE, operator_identity
from mesh.supervisor.endpoints import Endpoints
from mesh.supervisor.ports import Ports
from mesh.supervisor.running import Running


def running(data: Path) -> Running:
    return Running(data=data, pid=os.getpid(), endpoints=Endpoints.of(Ports()))


def test_a_certificate_is_used_for_half_of_its_life(tmp_path: Path) -> None:
    first = operator_identity(running(tmp_path)).certificate.read_bytes()

    assert operator_identity(running(tmp_path)).certificate.read_bytes() == first
    file = operator_identity(running(tmp_path)).certificate
    then = file.stat().st_mtime - LIFE.total_seconds() / 2
    os.utime(file, (then, then))
    assert operator_identity(running(tmp_path)).certificate.read_bytes() != first


def test_one_that_asks_elsewhere_or_believes_another_root_is_replaced(tmp_path: Path) -> None:
    here = running(tmp_path)
    first = operator_identity(here).certificate.read_bytes()

    moved = replace(here, endpoints=Endpoints.of(Ports(xds=18_100)))
    second = operator_identity(moved).certificate.read_bytes()
    assert second != first

    operator_identity(moved).roots.write_bytes(b"another root")
    assert operator_identity(moved).certificate.read_bytes() != second
