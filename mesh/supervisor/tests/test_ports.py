from __future__ import annotations

import os
import socket

import pytest

from mesh.supervisor.ports import LOOPBACK, Ports, free_port, is_free, must_be_free
from mesh.supervisor.problem import USAGE, Problem


def test_a_taken_port_is_a_problem_that_names_its_owner() -> None:
    with socket.socket() as listener:
        listener.bind((LOOPBACK, 0))
        listener.listen(1)
        port = listener.getsockname()[1]

        with pytest.raises(Problem) as raised:
            must_be_free({"rest": port})

    lines = str(raised.value).splitlines()
    assert lines[0] == f"error: port {port} (rest) is taken"
    assert f"process {os.getpid()} (" in lines[1]
    assert "BANK_REST_PORT" in lines[2]
    assert len(lines) == 3


def test_the_default_ports_are_those_of_the_documentation() -> None:
    ports = Ports.shifted(settings={})

    assert (ports.rest, ports.dashboard, ports.traces, ports.otlp) == (8080, 8090, 16686, 4318)
    assert (ports.nats, ports.xds) == (4222, 18000)


def test_a_base_shifts_all_ports_and_a_setting_moves_one() -> None:
    ports = Ports.shifted(10_000, {"BANK_NATS_PORT": "5000"})

    assert ports.rest == 18_080
    assert ports.nats == 5000


@pytest.mark.parametrize("text", ["0", "-1", "65536", "http"])
def test_a_port_that_cannot_be_is_a_usage_problem(text: str) -> None:
    with pytest.raises(Problem) as raised:
        Ports.shifted(settings={"BANK_REST_PORT": text})

    assert raised.value.exit_code == USAGE


def test_free_ports_differ_and_are_free() -> None:
    ports = Ports.free()
    numbers = {ports.rest, ports.dashboard, ports.traces, ports.otlp, ports.nats, ports.xds}

    assert len(numbers) == 6
    assert is_free(free_port())
