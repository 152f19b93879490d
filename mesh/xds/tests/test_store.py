from __future__ import annotations

from pathlib import Path

from mesh.xds.catalogue import Endpoint, Method, Service
from mesh.xds.store import Store


async def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    endpoint = Endpoint(instance_id="a", host="127.0.0.1", port=1, zone="z", draining=True)
    service = Service(
        name="x", methods=(Method(path="/x.X/Get", retriable=True),), endpoints={"a": endpoint}
    )
    store = Store(tmp_path / "catalogue.json")

    store.save([service])

    assert store.load() == [service]


async def test_without_a_file_nothing_is_known(tmp_path: Path) -> None:
    assert Store(tmp_path / "catalogue.json").load() == []


async def test_a_file_that_cannot_be_read_is_no_reason_not_to_start(tmp_path: Path) -> None:
    path = tmp_path / "catalogue.json"
    for content in ("", "[1]", "{}", '[{"name": "x"}]', '[{"name": 1, "methods": 2}]'):
        path.write_text(content)

        assert Store(path).load() == []
