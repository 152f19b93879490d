"""A mesh of processes, called by plain gRPC clients through `xds:///`."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from mesh.xds.tests.processes import Mesh, Process
from mesh.xds.tests.waiting import until

ACKED = 3


@pytest.fixture
async def mesh(tmp_path: Path) -> AsyncIterator[Mesh]:
    async with Mesh(tmp_path) as mesh:
        yield mesh


async def started(mesh: Mesh, service: str, *instances: str) -> list[Process]:
    processes = [await mesh.start_instance(service, instance) for instance in instances]
    for process in processes:
        await process.heard()
    return processes


async def reached(caller: Process, answer: str, service: str = "echo") -> None:
    await caller.do("until", service=service, answer=answer)


async def answers(caller: Process, service: str = "echo", **how: object) -> dict[str, int]:
    counted: dict[str, int] = (await caller.do("call", service=service, **how))["answers"]
    return counted


async def left(mesh: Mesh, *instances: str) -> None:
    """Waits until these are the instances that are listed."""

    async def are_left() -> bool:
        listed = (await mesh.page("/instances"))["instances"]
        return {instance["instanceId"] for instance in listed} == {*instances}

    await until(are_left)


async def test_an_instance_is_called_when_it_registers_and_not_after_its_death(mesh: Mesh) -> None:
    await mesh.start_plane()
    await started(mesh, "echo", "a")
    caller = await mesh.start_caller()
    assert await answers(caller) == {"a": 1}

    (second,) = await started(mesh, "echo", "b")
    await reached(caller, "b")

    await second.ends(signal.SIGKILL)
    await left(mesh, "a")
    await caller.do("until", service="echo", answer="b", gone=True)
    assert await answers(caller, n=20) == {"a": 20}


@pytest.mark.faults
async def test_a_frozen_instance_is_withdrawn_and_returns(mesh: Mesh) -> None:
    await mesh.start_plane()
    _, second = await started(mesh, "echo", "a", "b")

    second.child.send_signal(signal.SIGSTOP)
    await left(mesh, "a")

    second.child.send_signal(signal.SIGCONT)
    await left(mesh, "a", "b")


async def test_real_clients_accept_all_resources(mesh: Mesh) -> None:
    await mesh.start_plane()
    await started(mesh, "echo", "a")
    caller = await mesh.start_caller()
    await answers(caller)

    status = await caller.do("status")
    assert {kind: state for kind, (state, _) in status.items()} == {
        "Listener echo": ACKED,
        "RouteConfiguration echo": ACKED,
        "Cluster echo": ACKED,
        "ClusterLoadAssignment echo": ACKED,
    }
    (client,) = (await mesh.page("/clients"))["clients"]
    assert client["workload"] == "caller"
    for followed in client["types"].values():
        assert followed["version_acknowledged"] == followed["version_sent"]


async def test_a_name_that_nobody_knows_fails_at_once_and_works_when_it_comes(mesh: Mesh) -> None:
    await mesh.start_plane()
    caller = await mesh.start_caller()

    # Without a tombstone the deadline would come first: the client waits for 15 seconds.
    (answer,) = await answers(caller)
    assert answer.startswith("UNAVAILABLE: No matching route")

    await started(mesh, "echo", "a")
    await reached(caller, "a")


async def test_the_server_knows_who_calls(mesh: Mesh) -> None:
    await mesh.start_plane()
    await started(mesh, "echo", "a")
    caller = await mesh.start_caller("transfers")

    assert await answers(caller, what="who") == {"transfers": 1}


async def test_a_rolling_restart_fails_no_call(mesh: Mesh) -> None:
    await mesh.start_plane()
    running = await started(mesh, "echo", "a0", "b0")
    callers = [await mesh.start_caller() for _ in range(2)]
    for caller in callers:
        await reached(caller, "a0")
        await caller.do("load", service="echo", method="Do", what="slow:0.01")

    for generation in (1, 2):
        for number, name in enumerate("ab"):
            old = running[number]
            old.child.send_signal(signal.SIGTERM)
            assert await old.heard() == {"drained": True}
            assert await old.ends() == 0
            (running[number],) = await started(mesh, "echo", f"{name}{generation}")

    for caller in callers:
        await reached(caller, "a2")
        counted = (await caller.do("stop", service="echo"))["answers"]
        assert set(counted) <= {f"{name}{number}" for name in "ab" for number in range(3)}


async def test_a_killed_instance_fails_no_call_that_may_be_repeated(mesh: Mesh) -> None:
    await mesh.start_plane()
    _, second = await started(mesh, "echo", "a", "b")
    caller = await mesh.start_caller()
    await reached(caller, "b")
    await caller.do("load", service="echo", what="slow:0.02")
    await reached(caller, "b")

    await second.ends(signal.SIGKILL)
    await left(mesh, "a")
    await caller.do("until", service="echo", answer="b", gone=True)

    counted = (await caller.do("stop", service="echo"))["answers"]
    assert set(counted) <= {"a", "b"}


async def test_calls_go_on_without_a_control_plane_and_follow_it_when_it_returns(
    mesh: Mesh,
) -> None:
    plane = await mesh.start_plane()
    await started(mesh, "echo", "a")
    caller = await mesh.start_caller()
    await reached(caller, "a")
    await caller.do("load", service="echo", method="Do")

    await plane.ends(signal.SIGKILL)
    assert await answers(caller, method="Do", n=50) == {"a": 50}
    # It has its certificate already when the control plane is back: it waits to register.
    second = await mesh.start_instance("echo", "b")
    await mesh.start_plane()
    await second.heard()
    await reached(caller, "b")

    counted = (await caller.do("stop", service="echo"))["answers"]
    assert set(counted) <= {"a", "b"}


async def test_a_control_plane_that_forgot_everything_takes_nothing_down(mesh: Mesh) -> None:
    plane = await mesh.start_plane()
    await started(mesh, "echo", "a")
    caller = await mesh.start_caller()
    await reached(caller, "a")
    await caller.do("load", service="echo", method="Do")

    await plane.ends(signal.SIGKILL)
    (mesh.data_dir / "catalogue.json").unlink()
    await mesh.start_plane()
    await left(mesh, "a")
    await until(lambda: is_followed(mesh))
    assert await answers(caller, n=20) == {"a": 20}

    assert set((await caller.do("stop", service="echo"))["answers"]) == {"a"}


async def is_followed(mesh: Mesh) -> bool:
    """Tells whether a client is connected, and was given endpoints."""
    clients = (await mesh.page("/clients"))["clients"]
    return any("ClusterLoadAssignment" in client["types"] for client in clients)


@pytest.mark.faults
async def test_an_instance_that_did_not_survive_is_given_up_after_the_window(mesh: Mesh) -> None:
    plane = await mesh.start_plane()
    _, second = await started(mesh, "echo", "a", "b")
    await until(lambda: mesh.has_kept("b"))
    await plane.ends(signal.SIGKILL)
    await second.ends(signal.SIGKILL)

    await mesh.start_plane()
    await left(mesh, "a", "b")
    await left(mesh, "a")


async def test_a_control_plane_ends_with_0_on_sigterm(mesh: Mesh) -> None:
    plane = await mesh.start_plane()
    await started(mesh, "echo", "a")

    assert await plane.ends(signal.SIGTERM) == 0


async def test_refusals_eject_nobody(mesh: Mesh) -> None:
    await mesh.start_plane()
    await started(mesh, "echo", "a", "b")
    caller = await mesh.start_caller()
    await reached(caller, "b")

    # Far more than one interval's worth: four of five calls are refused.
    for _ in range(100):
        await answers(caller, method="Do", what="refuse", n=16)
        assert set(await answers(caller, method="Do", n=4)) == {"a", "b"}


async def test_an_instance_that_fails_everything_is_ejected(mesh: Mesh) -> None:
    await mesh.start_plane()
    await started(mesh, "echo", "a", "b")
    caller = await mesh.start_caller()
    await reached(caller, "b")

    async def is_out() -> bool:
        return set(await answers(caller, method="Do", what="fail:b", n=100)) == {"a"}

    await until(is_out)


@pytest.mark.faults
async def test_a_control_plane_that_was_frozen_withdraws_nobody(mesh: Mesh) -> None:
    plane = await mesh.start_plane()
    await started(mesh, "echo", "a", "b")
    caller = await mesh.start_caller()
    await reached(caller, "b")
    before = await endpoints_version(mesh)

    plane.child.send_signal(signal.SIGSTOP)
    # Longer than the lease lives, shorter than anybody's patience with a silent connection.
    await asyncio.sleep(3.5)
    plane.child.send_signal(signal.SIGCONT)
    await started(mesh, "other", "c")
    await left(mesh, "a", "b", "c")

    assert await endpoints_version(mesh) == before


async def endpoints_version(mesh: Mesh) -> str:
    (client,) = (await mesh.page("/clients"))["clients"]
    version: str = client["types"]["ClusterLoadAssignment"]["version_sent"]
    return version


async def test_the_admin_pages_tell_what_happens(mesh: Mesh) -> None:
    await mesh.start_plane()
    await started(mesh, "echo", "a")
    caller = await mesh.start_caller()
    await reached(caller, "a")

    assert await mesh.page("/livez") == {"live": True}
    metrics = await mesh.text("/metrics")
    assert "mesh_xds_clients 1\n" in metrics
    assert 'mesh_xds_instances{service="echo",state="ready"} 1\n' in metrics
