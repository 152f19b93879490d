"""Two hundred clients follow the control plane, and learn of a change within a second."""

from __future__ import annotations

from pathlib import Path
from statistics import quantiles

import pytest

from benchmarks.xds_clients import changes, snapshot


@pytest.mark.faults
@pytest.mark.timeout(120)
async def test_two_hundred_clients_learn_of_an_endpoint_within_a_second(tmp_path: Path) -> None:
    took = await changes(200, 5, tmp_path)

    p99 = quantiles(took, n=100)[-1]
    print(f"p99 {p99 * 1e3:.0f} ms of {len(took)}")
    assert len(took) == 1_000
    assert p99 < 1.0


async def test_a_change_of_one_service_of_a_thousand_derives_that_one_only() -> None:
    whole_s, one_s = await snapshot(1_000)

    assert one_s < whole_s / 50
