from __future__ import annotations

import pytest

from mesh.cli.figures import Figures
from mesh.cli.rates import edge_rates, service_rates
from mesh.cli.sample import Page, Sample, Window


def a_window(**counts: int) -> Window:
    """Two seconds in which a process answered, and made, so many calls of each status."""
    lines = []
    for code, count in counts.items():
        for metric, more in (("server", ""), ("client", ',service_peer_name="pix"')):
            labels = f'rpc_method="a.A/Do",rpc_status_code="{code}"{more}'
            for bound in ("0.01", "+Inf"):
                name = f"rpc_{metric}_call_duration_seconds_bucket"
                lines.append(f'{name}{{{labels},le="{bound}"}} {count}')
    page = Page("transfers", "transfers-1", "127.0.0.1:1", "127.0.0.1:2", "READY")
    figures = Figures.parse("\n".join(lines))
    return Window(page, "1", 2.0, figures, figures, ())


def a_sample(at: float, calls: int, *attempts: tuple[str, int, int]) -> Sample:
    """A process whose one channel has begun so many calls; `attempts`: address, begun, failed."""
    page = Page("transfers", "transfers-1", "127.0.0.1:1", "127.0.0.1:2", "READY")
    addresses = [
        {"target": f"ipv4:{address}", "state": "READY", "started": begun, "failed": failed}
        for address, begun, failed in attempts
    ]
    channel = {"target": "xds:///accounts", "started": calls, "addresses": addresses}
    return Sample(page, at, Figures({}), [channel, {"target": "dns:///localhost:1"}])


def test_an_answer_that_says_no_is_a_success_and_a_fault_is_not() -> None:
    rates = service_rates([a_window(OK=90, NOT_FOUND=5, INTERNAL=4, RESOURCE_EXHAUSTED=1)])

    assert (rates.calls, rates.rps) == (100, 50.0)
    assert rates.success == pytest.approx(0.95)


def test_the_rates_of_instances_are_added_up() -> None:
    rates = service_rates([a_window(OK=10), a_window(OK=30)])

    assert (rates.calls, rates.rps, rates.success) == (40, 20.0, 1.0)


def test_without_calls_there_is_no_success() -> None:
    assert service_rates([a_window()]).success is None


def test_an_edge_is_named_by_who_calls_whom() -> None:
    ((edge, tally),) = edge_rates([a_window(OK=4)]).items()

    assert edge == ("transfers", "pix", "a.A/Do")
    assert tally.rates.calls == 4


def test_attempts_beyond_the_calls_are_repetitions() -> None:
    before = a_sample(0.0, 10, ("h:1", 5, 0), ("h:2", 5, 0))
    after = a_sample(2.0, 110, ("h:1", 65, 10), ("h:2", 55, 0))

    (found,) = Window.between(before, after).attempts

    assert (found.caller, found.service) == ("transfers", "accounts")
    assert (found.calls, found.attempts, found.ejected) == (100, 110, ())


def test_an_address_that_failed_and_is_passed_over_is_ejected() -> None:
    before = a_sample(0.0, 10, ("h:1", 5, 5), ("h:2", 5, 0), ("h:3", 0, 0))
    after = a_sample(2.0, 110, ("h:1", 5, 5), ("h:2", 105, 0), ("h:3", 0, 0))

    (found,) = Window.between(before, after).attempts

    assert found.ejected == ("h:1",)
