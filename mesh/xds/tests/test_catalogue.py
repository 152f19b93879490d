from __future__ import annotations

import pytest

from mesh.xds.catalogue import Catalogue, Endpoint, Method, Service


@pytest.fixture
def changes() -> list[str]:
    return []


@pytest.fixture
def catalogue(changes: list[str]) -> Catalogue:
    return Catalogue(changes.append, last_instance_grace_s=5.0)


def an_endpoint(instance_id: str, port: int = 1, *, draining: bool = False) -> Endpoint:
    return Endpoint(instance_id=instance_id, host="127.0.0.1", port=port, draining=draining)


def ids(catalogue: Catalogue) -> set[str]:
    return set(catalogue.services["x"].endpoints)


def test_an_instance_is_kept_with_the_methods_of_its_service(
    catalogue: Catalogue, changes: list[str]
) -> None:
    method = Method(path="/x.X/Get", retriable=True)

    catalogue.put("x", an_endpoint("a"), (method,))

    assert catalogue.services["x"].methods == (method,)
    assert ids(catalogue) == {"a"}
    assert changes == ["x"]


def test_one_of_several_goes_with_its_lease(catalogue: Catalogue) -> None:
    catalogue.put("x", an_endpoint("a", 1))
    catalogue.put("x", an_endpoint("b", 2))

    catalogue.release("x", "a", now=0.0)

    assert ids(catalogue) == {"b"}


def test_the_last_one_is_remembered_for_a_grace(catalogue: Catalogue) -> None:
    catalogue.put("x", an_endpoint("a"))

    catalogue.release("x", "a", now=10.0)

    assert catalogue.sweep(14.9) == []
    assert ids(catalogue) == {"a"}
    assert catalogue.sweep(15.0) == [("x", "a")]
    assert ids(catalogue) == set()


def test_the_last_one_goes_at_once_when_it_said_goodbye(catalogue: Catalogue) -> None:
    catalogue.put("x", an_endpoint("a"))
    catalogue.put("x", an_endpoint("a", draining=True))

    catalogue.release("x", "a", now=0.0)

    assert ids(catalogue) == set()


def test_one_that_drains_is_no_company_for_the_last(catalogue: Catalogue) -> None:
    catalogue.put("x", an_endpoint("a", 1, draining=True))
    catalogue.put("x", an_endpoint("b", 2))

    catalogue.release("x", "b", now=0.0)

    assert ids(catalogue) == {"a", "b"}


def test_a_successor_ends_the_memory_of_the_last(catalogue: Catalogue) -> None:
    catalogue.put("x", an_endpoint("a", 1))
    catalogue.release("x", "a", now=0.0)

    catalogue.put("x", an_endpoint("b", 2))

    assert ids(catalogue) == {"b"}


def test_one_that_returns_is_remembered_no_longer(catalogue: Catalogue) -> None:
    catalogue.put("x", an_endpoint("a"))
    catalogue.release("x", "a", now=0.0)

    catalogue.put("x", an_endpoint("a"))

    assert catalogue.sweep(100.0) == []
    assert ids(catalogue) == {"a"}


def test_two_instances_never_share_an_address(catalogue: Catalogue) -> None:
    catalogue.put("x", an_endpoint("a", 1))

    catalogue.put("x", an_endpoint("b", 1))

    assert ids(catalogue) == {"b"}


def test_the_instances_of_the_last_run_have_a_while_to_return(catalogue: Catalogue) -> None:
    known = {"a": an_endpoint("a", 1), "b": an_endpoint("b", 2)}
    catalogue.restore([Service(name="x", endpoints=known)], until=10.0)
    catalogue.put("x", an_endpoint("a", 1))

    assert ids(catalogue) == {"a", "b"}
    assert catalogue.sweep(10.0) == [("x", "b")]
    assert ids(catalogue) == {"a"}


def test_a_service_stays_known_without_instances(catalogue: Catalogue) -> None:
    catalogue.put("x", an_endpoint("a", draining=True))

    catalogue.release("x", "a", now=0.0)

    assert "x" in catalogue.services
