from __future__ import annotations

import pytest
from envoy.service.discovery.v3.discovery_pb2 import DiscoveryRequest, DiscoveryResponse

from mesh.errors import InvalidArgument
from mesh.xds.catalogue import Endpoint, Service
from mesh.xds.resources import CDS, EDS, LDS, resources_of
from mesh.xds.snapshot import Snapshot
from mesh.xds.subscription import Client


@pytest.fixture
def snapshot() -> Snapshot:
    snapshot = Snapshot()
    for name in ("x", "y"):
        publish(snapshot, name, "a")
    return snapshot


@pytest.fixture
def client() -> Client:
    return Client("caller", "peer")


def publish(snapshot: Snapshot, name: str, *instances: str) -> None:
    endpoints = {i: Endpoint(instance_id=i, host="::1", port=ord(i)) for i in instances}
    snapshot.update(resources_of(Service(name=name, endpoints=endpoints)))


def ask(client: Client, type_url: str, *names: str, nonce: str = "", version: str = "") -> None:
    client.receive(
        DiscoveryRequest(
            type_url=type_url, resource_names=names, response_nonce=nonce, version_info=version
        )
    )


def accept(client: Client, answer: DiscoveryResponse, *names: str) -> None:
    ask(client, answer.type_url, *names, nonce=answer.nonce, version=answer.version_info)


def refuse(client: Client, answer: DiscoveryResponse, *names: str) -> None:
    request = DiscoveryRequest(
        type_url=answer.type_url, resource_names=names, response_nonce=answer.nonce
    )
    request.error_detail.message = "no"
    client.receive(request)


def the_answer(client: Client, snapshot: Snapshot) -> DiscoveryResponse:
    (answer,) = client.answers(snapshot)
    return answer


def nothing_is_due(client: Client, snapshot: Snapshot) -> bool:
    return list(client.answers(snapshot)) == []


def test_a_subscription_is_answered_once(client: Client, snapshot: Snapshot) -> None:
    ask(client, EDS, "x")

    answer = the_answer(client, snapshot)

    assert len(answer.resources) == 1
    accept(client, answer, "x")
    assert nothing_is_due(client, snapshot)


def test_nothing_is_sent_before_the_last_answer_is_settled(
    client: Client, snapshot: Snapshot
) -> None:
    ask(client, EDS, "x")
    answer = the_answer(client, snapshot)
    publish(snapshot, "x", "b")
    publish(snapshot, "x", "c")

    assert nothing_is_due(client, snapshot)
    accept(client, answer, "x")
    assert len(the_answer(client, snapshot).resources) == 1


def test_of_endpoints_only_the_changed_are_sent(client: Client, snapshot: Snapshot) -> None:
    ask(client, EDS, "x", "y")
    accept(client, the_answer(client, snapshot), "x", "y")

    publish(snapshot, "y", "b")

    assert len(the_answer(client, snapshot).resources) == 1


def test_of_listeners_and_clusters_all_are_sent(client: Client, snapshot: Snapshot) -> None:
    for type_url in (LDS, CDS):
        ask(client, type_url, "x")
        accept(client, the_answer(client, snapshot), "x")

        ask(client, type_url, "x", "y", nonce=client.subscriptions[type_url].nonce)

        assert len(the_answer(client, snapshot).resources) == 2


def test_a_smaller_subscription_needs_no_answer(client: Client, snapshot: Snapshot) -> None:
    ask(client, CDS, "x", "y")
    answer = the_answer(client, snapshot)
    accept(client, answer, "x", "y")

    ask(client, CDS, "x", nonce=answer.nonce)

    assert nothing_is_due(client, snapshot)


def test_what_is_wanted_again_is_sent_again(client: Client, snapshot: Snapshot) -> None:
    ask(client, EDS, "x", "y")
    answer = the_answer(client, snapshot)
    accept(client, answer, "x", "y")
    ask(client, EDS, "x", nonce=answer.nonce)

    ask(client, EDS, "x", "y", nonce=answer.nonce)

    assert len(the_answer(client, snapshot).resources) == 1


def test_a_request_with_an_old_nonce_is_void(client: Client, snapshot: Snapshot) -> None:
    ask(client, EDS, "x")
    old = the_answer(client, snapshot)
    accept(client, old, "x")
    publish(snapshot, "x", "b")
    new = the_answer(client, snapshot)

    accept(client, old, "x", "y")

    assert client.subscriptions[EDS].names == {"x"}
    assert not client.has(EDS, "x", snapshot.version_of(EDS, "x"))
    accept(client, new, "x")
    assert client.has(EDS, "x", snapshot.version_of(EDS, "x"))


def test_a_refusal_is_kept_and_not_answered_with_the_same(
    client: Client, snapshot: Snapshot
) -> None:
    ask(client, EDS, "x")
    answer = the_answer(client, snapshot)
    accept(client, answer, "x")
    publish(snapshot, "x", "b")
    bad = the_answer(client, snapshot)

    refuse(client, bad, "x")

    subscription = client.subscriptions[EDS]
    assert (subscription.refusal, subscription.refusals) == ("no", 1)
    assert subscription.version_acknowledged == answer.version_info
    assert nothing_is_due(client, snapshot)
    assert not client.has(EDS, "x", snapshot.version_of(EDS, "x"))


def test_accepting_one_resource_does_not_accept_a_refused_one(
    client: Client, snapshot: Snapshot
) -> None:
    ask(client, EDS, "x", "y")
    refuse(client, the_answer(client, snapshot), "x", "y")
    publish(snapshot, "y", "b")

    accept(client, the_answer(client, snapshot), "x", "y")

    assert client.has(EDS, "y", snapshot.version_of(EDS, "y"))
    assert not client.has(EDS, "x", snapshot.version_of(EDS, "x"))


def test_a_stream_that_does_not_follow_a_resource_need_not_accept_it(client: Client) -> None:
    assert client.has(EDS, "x", 1)


def test_an_unknown_name_is_left_unanswered_until_all_is_known(
    client: Client, snapshot: Snapshot
) -> None:
    ask(client, LDS, "nobody")

    assert nothing_is_due(client, snapshot)
    snapshot.complete = True
    assert len(the_answer(client, snapshot).resources) == 1


def test_what_is_pointed_at_is_sent_first(client: Client, snapshot: Snapshot) -> None:
    ask(client, LDS, "x")
    ask(client, CDS, "x")

    assert [answer.type_url for answer in client.answers(snapshot)] == [CDS, LDS]


def test_a_type_that_is_not_served_is_ignored(client: Client, snapshot: Snapshot) -> None:
    ask(client, "type.googleapis.com/other", "x")

    assert nothing_is_due(client, snapshot)


def test_a_stream_may_not_want_everything(client: Client) -> None:
    with pytest.raises(InvalidArgument, match="1,000"):
        ask(client, EDS, *(str(number) for number in range(1_001)))


def test_versions_grow(snapshot: Snapshot) -> None:
    before = snapshot.version_of(EDS, "x")

    publish(snapshot, "x", "b")

    assert snapshot.version_of(EDS, "x") > before
