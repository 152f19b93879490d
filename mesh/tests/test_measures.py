"""What a process tells of its own metrics."""

from __future__ import annotations

from mesh.measures import measured
from meshapi.v1 import registry_pb2 as pb
from observability import metrics


def test_only_what_is_wanted_and_there_is_told() -> None:
    assert measured(pb.RegisterResponse()) == pb.Measured()

    told = measured(pb.RegisterResponse(wanted_metrics=["process_open_fds", "no_such"]))
    (found,) = told.metrics
    assert found.name == "process_open_fds"
    assert found.least == found.greatest > 0


def test_a_metric_with_labels_is_told_by_its_least_and_greatest() -> None:
    metrics.PROJECTION_LAG.bind("a}b c").set(-3)
    metrics.PROJECTION_LAG.bind("d").set(40)

    (lag,) = measured(pb.RegisterResponse(wanted_metrics=["mesh_projection_lag"])).metrics

    assert (lag.least, lag.greatest) == (-3, 40)


def test_latencies_are_told_over_all_methods() -> None:
    before = measured(pb.RegisterResponse(wants_latency=True)).latency
    metrics.RPC_SERVER_CALL_DURATION.record(0.02, "a/B", "OK", "bff")
    metrics.RPC_SERVER_CALL_DURATION.record(99.0, "a/C", "INTERNAL", "bff")

    after = measured(pb.RegisterResponse(wants_latency=True)).latency

    assert len(after.counts) == len(after.bounds_s) + 1
    assert sum(after.counts) == sum(before.counts) + 2
    assert after.counts[-1] == before.counts[-1] + 1
