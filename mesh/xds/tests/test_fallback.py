"""Where a process stands in for the control plane, without one."""

from __future__ import annotations

import asyncio
import functools
import os
import sys
import tempfile
from pathlib import Path

import pytest
from envoy.service.discovery.v3.discovery_pb2 import DiscoveryRequest, DiscoveryResponse
from google.protobuf.any_pb2 import Any as Packed

from mesh.xds.accepted import Accepted
from mesh.xds.fallback import FILE, Fallback
from mesh.xds.last_known import Answers
from mesh.xds.resources import CDS, LDS
from mesh.xds.tests.waiting import until


async def test_what_killed_processes_left_is_swept_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    gone = await asyncio.create_subprocess_exec(sys.executable, "-c", "")
    await gone.wait()
    left = tmp_path / f"mesh-xds-{gone.pid}-x"
    left.mkdir()
    others = tmp_path / "mesh-xds-1-x"
    others.mkdir()

    fallback = Fallback(tmp_path / FILE)
    await fallback.start()
    assert not left.exists()
    assert others.exists()
    assert fallback.uri.startswith(f"unix:{tmp_path}/mesh-xds-")
    await fallback.stop()
    assert [name for name in os.listdir(tmp_path) if name.startswith("mesh-xds-")] == [others.name]


async def test_what_is_accepted_is_added_to_what_others_of_the_service_kept(tmp_path: Path) -> None:
    for name in ("users", "pix"):
        fallback = Fallback(tmp_path / FILE)
        writing = asyncio.create_task(fallback.write())
        body = Packed(type_url=CDS, value=name.encode())
        fallback.keep({(CDS, name): Accepted("1", body)})
        await until(functools.partial(_names, tmp_path / FILE, name))
        writing.cancel()
        await asyncio.gather(writing, return_exceptions=True)

    assert _names(tmp_path / FILE, "users")


def test_a_name_that_was_never_known_is_answered_as_unknown() -> None:
    request = DiscoveryRequest(type_url=LDS, resource_names=["nobody"])
    (answer,) = Answers({}).to(request.SerializeToString())

    assert len(DiscoveryResponse.FromString(answer).resources) == 1


def _names(path: Path, name: str) -> bool:
    return path.exists() and f'"{name}"' in path.read_text()
