from __future__ import annotations

import pytest

from mesh.cli.figures import Distribution, Figures

TEXT = """\
# HELP rpc_server_call_duration_seconds Duration of inbound calls.
# TYPE rpc_server_call_duration_seconds histogram
rpc_server_call_duration_seconds_bucket{rpc_method="a.A/Get",rpc_status_code="OK",le="0.001"} 6
rpc_server_call_duration_seconds_bucket{rpc_method="a.A/Get",rpc_status_code="OK",le="0.01"} 10
rpc_server_call_duration_seconds_bucket{rpc_method="a.A/Get",rpc_status_code="OK",le="+Inf"} 10
rpc_server_call_duration_seconds_sum{rpc_method="a.A/Get",rpc_status_code="OK"} 0.02
rpc_server_call_duration_seconds_count{rpc_method="a.A/Get",rpc_status_code="OK"} 10
target_info{service_name="a",service_version="2\\"\\\\"} 1
mesh_outbox_age_seconds 0.5
nonsense
"""

METRIC = "rpc_server_call_duration_seconds"


def test_samples_are_found_by_name_with_their_labels() -> None:
    figures = Figures.parse(TEXT)

    assert list(figures.of("mesh_outbox_age_seconds")) == [({}, 0.5)]
    ((labels, value),) = figures.of("target_info")
    assert (labels["service_version"], value) == ('2"\\', 1.0)


def test_percentiles_are_found_within_their_bucket() -> None:
    (found,) = Figures.parse(TEXT).distributions(METRIC, "rpc_method").values()

    assert found.count == 10
    assert found.quantile(0.3) == pytest.approx(0.0005)
    assert found.quantile(0.8) == pytest.approx(0.0055)
    assert Distribution().quantile(0.5) is None


def test_beyond_the_last_bound_a_percentile_is_that_bound() -> None:
    found = Distribution({0.1: 1.0, float("inf"): 10.0})

    assert found.quantile(0.99) == 0.1


def test_what_grew_between_two_moments_is_the_difference() -> None:
    later = TEXT.replace("} 10", "} 14").replace("} 6", "} 7")

    grown = Figures.parse(later).since(Figures.parse(TEXT)).distributions(METRIC)[()]

    assert grown.count == 4
    assert grown.up_to[0.001] == 1


def test_a_process_that_began_again_counts_from_nothing() -> None:
    earlier = TEXT.replace("} 10", "} 99").replace("} 6", "} 60")

    grown = Figures.parse(TEXT).since(Figures.parse(earlier)).distributions(METRIC)[()]

    assert grown.count == 10


def test_processes_are_added_up_bucket_by_bucket() -> None:
    (one,) = Figures.parse(TEXT).distributions(METRIC).values()

    both = Distribution.sum([one, one])

    assert both.count == 20
    assert both.quantile(0.3) == one.quantile(0.3)
