"""What instances tell of themselves, summed."""

from __future__ import annotations

import pytest

from mesh.xds.measured import Latencies, Measurements, Wanted
from meshapi.v1 import registry_pb2 as pb

BOUNDS = [0.01, 0.1, 1.0]


class Clock:
    now = 1_000.0

    def __call__(self) -> float:
        return self.now


def told(*counts: int, **metrics: float) -> pb.Measured:
    return pb.Measured(
        latency=pb.LatencyHistogram(bounds_s=BOUNDS, counts=counts),
        metrics=[
            pb.MeasuredMetric(name=name, least=value, greatest=value)
            for name, value in metrics.items()
        ],
    )


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def measurements(clock: Clock) -> Measurements:
    return Measurements(clock)


def test_latencies_are_those_of_the_window_over_all_instances_of_a_version(
    clock: Clock, measurements: Measurements
) -> None:
    for instance, version in (("a", "v1"), ("b", "v1"), ("c", "v2")):
        measurements.take("echo", instance, version, told(1_000, 0, 0, 0))
    clock.now += 10
    measurements.take("echo", "a", "v1", told(1_050, 0, 0, 0))
    measurements.take("echo", "b", "v1", told(1_000, 50, 0, 0))
    measurements.take("echo", "c", "v2", told(1_000, 0, 0, 3))

    found = measurements.latencies("echo", "v1", 10)
    assert found.calls == 100
    assert found.p99_s == pytest.approx(0.01 + 0.09 * 0.98)
    assert measurements.latencies("echo", "v2", 10) == Latencies(3, 1.0)
    assert measurements.latencies("echo", "v3", 10) == Latencies()


def test_another_process_under_the_same_name_begins_anew(
    clock: Clock, measurements: Measurements
) -> None:
    measurements.take("echo", "a", "v1", told(500, 0, 0, 0))
    clock.now += 1
    measurements.take("echo", "a", "v1", told(1, 0, 0, 0))
    clock.now += 1
    measurements.take("echo", "a", "v1", told(3, 0, 0, 0))

    assert measurements.latencies("echo", "v1", 60).calls == 2
    measurements.forget("a")
    assert measurements.latencies("echo", "v1", 60).calls == 0


def test_a_metric_is_known_as_long_as_it_is_told(clock: Clock, measurements: Measurements) -> None:
    assert measurements.extremes("ledger", "drift") is None
    measurements.take("ledger", "a", "v1", told(drift=0))
    measurements.take("ledger", "b", "v1", told(drift=-7))

    assert measurements.extremes("ledger", "drift") == (-7, 0)
    assert measurements.extremes("ledger", "other") is None
    clock.now += 6
    assert measurements.extremes("ledger", "drift") is None


def test_whoever_is_asked_is_told_of_a_change_only(measurements: Measurements) -> None:
    woken: list[int] = []
    measurements.on_want.append(lambda: woken.append(1))

    measurements.want({})
    measurements.want({"echo": Wanted(latency=True)})
    measurements.want({"echo": Wanted(latency=True)})

    assert woken == [1]
    assert measurements.wanted_of("echo").latency
    assert measurements.wanted_of("other") == Wanted()
