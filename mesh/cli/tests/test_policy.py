"""The policy's commands, against a real control plane."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from mesh.cli.main import run
from mesh.supervisor.endpoints import Endpoints
from mesh.supervisor.ports import Ports
from mesh.supervisor.project import Project
from mesh.xds.policy.tests.mesh import Mesh
from mesh.xds.tests.waiting import until

ROOT = Path(__file__).parents[3]


class Operator:
    """Types commands, and reads what they say."""

    def __init__(self, project: Project, said: pytest.CaptureFixture[str]) -> None:
        self._project = project
        self._said = said

    async def types(self, *arguments: str, ends: int = 0) -> str:
        """Runs a command that ends with a code; gives what it printed."""
        code = await asyncio.to_thread(run, self._project, arguments)
        printed = self._said.readouterr()
        assert code == ends, printed.err
        return printed.out if ends != 2 else printed.err


@pytest.fixture
async def mesh(tmp_path: Path) -> AsyncIterator[Mesh]:
    async with Mesh(tmp_path) as mesh:
        await mesh.instance("a", "v1")
        await mesh.instance("b", "v2")
        yield mesh


@pytest.fixture
def operator(
    mesh: Mesh,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Operator:
    monkeypatch.setenv("BANK_DATA", str(tmp_path))
    known = Endpoints.of(Ports())
    endpoints = known.public()
    endpoints["xds"] = mesh.plane.address.replace("127.0.0.1", "localhost")
    state = {"pid": os.getpid(), "endpoints": endpoints, "identity": known.identity}
    (tmp_path / "state.json").write_text(json.dumps(state))
    project = Project(name="bank", version="v1", root=ROOT, services=["echo"], edge="bff")
    return Operator(project, capsys)


async def test_a_change_is_made_seen_listed_and_undone(operator: Operator) -> None:
    said = await operator.types("mesh", "split", "echo", "v1=90", "v2=10", "--reason", "a look")
    assert said == "followed as revision 1\n"
    table = await operator.types("mesh", "policy", "get")
    assert table.splitlines()[0].endswith(": a look")
    assert table.splitlines()[2].split() == ["echo", "split", "v1=90", "v2=10"]

    await operator.types("mesh", "route", "echo", "--to", "v2", "--header", "x-canary=yes")
    await operator.types("mesh", "outlier", "echo", "--failures", "60")
    await operator.types("mesh", "fault", "echo/Do", "abort=INTERNAL:5%", "--for", "1h")
    policy = json.loads(await operator.types("mesh", "policy", "get", "--output", "json"))
    (echo,) = policy["services"]
    assert set(echo) == {"service", "split", "routes", "outlier", "faults"}

    diff = await operator.types("mesh", "policy", "diff", ends=1)
    assert diff.startswith("--- revision 3\n+++ revision 4\n")
    await operator.types("mesh", "policy", "rollback", "1")
    history = json.loads(await operator.types("mesh", "policy", "history", "--output", "json"))
    assert [each["revision"] for each in history] == [5, 4, 3, 2, 1]
    assert history[0]["reason"] == "back to revision 1"


@pytest.mark.faults
async def test_each_field_has_a_command_of_its_own(operator: Operator) -> None:
    await operator.types("mesh", "mirror", "echo", "--to", "v2", "--percent", "5")
    await operator.types("mesh", "retry", "echo/Get", "--times", "2", "--after", "unavailable")
    await operator.types("mesh", "retry", "echo", "--off")
    await operator.types("mesh", "circuit", "echo", "--most", "50")
    await operator.types("mesh", "sticky", "echo", "--header", "X-Account")
    await operator.types("mesh", "zones", "echo", "--own-first", "--then", "b")

    policy = json.loads(await operator.types("mesh", "policy", "get", "--output", "json"))
    (echo,) = policy["services"]
    assert echo == {
        "service": "echo",
        "mirror": {"to": "v2", "percent": 5.0},
        "retries": [
            {"off": True},
            {"methods": ["Get"], "num_retries": 2, "retry_on": ["unavailable"]},
        ],
        "circuit_breaker": {"max_requests": 50},
        "load_balancing": {"algorithm": "LOAD_BALANCER_RING_HASH", "hash_header": "x-account"},
        "zones": {"own_first": True, "failover": ["b"]},
    }

    for field in ("mirror", "retry", "circuit", "sticky", "zones"):
        await operator.types("mesh", field, "echo", "--clear")
        await operator.types("mesh", field, "echo", ends=2)
    policy = json.loads(await operator.types("mesh", "policy", "get", "--output", "json"))
    assert policy.get("services", []) == []


async def test_what_is_refused_can_be_forced(operator: Operator, tmp_path: Path) -> None:
    file = tmp_path / "odd.json"
    mirror = {"to": "v2", "percent": 5, "by_xds": True}
    file.write_text(json.dumps({"services": [{"service": "echo", "mirror": mirror}]}))

    said = await operator.types("mesh", "policy", "apply", "-f", str(file), ends=2)
    assert "request_mirror_policies is ignored" in said

    said = await operator.types("mesh", "policy", "apply", "-f", str(file), "--force")
    assert "attention: services[echo].mirror.by_xds" in said


async def test_a_test_says_where_a_call_goes(operator: Operator) -> None:
    await operator.types("mesh", "split", "echo", "v1=75", "v2=25")

    said = await operator.types("mesh", "policy", "test", "echo", "Get")

    assert [line.split() for line in said.splitlines()[1:3]] == [
        ["v1", "75", "%", "a"],
        ["v2", "25", "%", "b"],
    ]


async def test_what_a_client_would_choke_on_is_refused_in_three_lines(
    operator: Operator, mesh: Mesh, tmp_path: Path
) -> None:
    file = tmp_path / "bad.toml"
    file.write_text(
        '[[services]]\nservice = "echo"\n'
        '[services.load_balancing]\nalgorithm = "LOAD_BALANCER_LEAST_REQUEST"\n'
    )

    what, why, remedy = (
        await operator.types("mesh", "policy", "apply", "-f", str(file), ends=2)
    ).splitlines()

    assert what == "error: the policy is refused"
    assert "services[echo].load_balancing.algorithm: gRPC C-core" in why
    assert remedy.startswith("  try: ")
    assert mesh.plane.policies.book.current.revision == 0


@pytest.mark.parametrize("content", ["{", "[]", '{"services": [{"name": "x"}]}'])
async def test_a_file_that_is_no_policy_is_refused(
    operator: Operator, tmp_path: Path, content: str
) -> None:
    file = tmp_path / "policy.json"
    file.write_text(content)

    said = await operator.types("mesh", "policy", "apply", "-f", str(file), ends=2)

    assert len(said.splitlines()) == 3


async def test_a_canary_is_started_shown_and_stopped(operator: Operator) -> None:
    await operator.types("mesh", "canary", "echo", "--to", "v2", "--steps", "10:1h,50:1h")

    shown = json.loads(await operator.types("mesh", "canary", "echo", "--output", "json"))
    assert (shown["from"], shown["to"]) == ("v1", "v2")
    assert shown["state"] in ("BEGINS", "RUNNING")

    await operator.types("mesh", "canary", "echo", "--stop")
    policy = json.loads(await operator.types("mesh", "policy", "get", "--output", "json"))
    assert policy["services"] == [{"service": "echo", "split": [{"version": "v1", "weight": 100}]}]
    await operator.types("mesh", "canary", "echo", ends=2)


async def test_what_ended_is_shown_as_over(operator: Operator) -> None:
    await operator.types("mesh", "fault", "echo", "delay=5ms", "--for", "500ms")

    async def is_over() -> bool:
        return "(over)" in await operator.types("mesh", "policy", "get")

    await until(is_over)
