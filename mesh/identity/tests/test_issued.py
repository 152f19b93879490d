from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from mesh.identity.files import issue_files
from mesh.identity.issued import good_entries, tidy
from mesh.identity.join import authority_directory, trust_bundle_file
from mesh.identity.live import LiveAuthority
from mesh.identity.rotation import behind, prepare_root, retire_roots, switch_root


def test_what_is_issued_is_listed_until_it_expires(tmp_path: Path) -> None:
    issue_files(tmp_path, "ana", tmp_path / "ana")
    issue_files(tmp_path, "rui", tmp_path / "rui", ttl=timedelta(seconds=-1))

    directory = authority_directory(tmp_path)
    assert [entry.workload for entry in good_entries(directory)] == ["ana"]
    tidy(directory)
    assert len((directory / "issued.jsonl").read_text().splitlines()) == 1


def test_a_line_that_was_cut_off_is_passed_over(tmp_path: Path) -> None:
    issue_files(tmp_path, "ana", tmp_path / "ana")
    directory = authority_directory(tmp_path)
    with (directory / "issued.jsonl").open("a") as file:
        file.write('{"workload": "ru')

    assert [entry.workload for entry in good_entries(directory)] == ["ana"]


def test_each_step_of_a_change_of_the_root_waits_for_those_behind(tmp_path: Path) -> None:
    issue_files(tmp_path, "ana", tmp_path / "ana")
    assert not behind(tmp_path)

    prepare_root(tmp_path)
    assert [entry.workload for entry in behind(tmp_path)] == ["ana"]
    (authority_directory(tmp_path) / "issued.jsonl").unlink()
    issue_files(tmp_path, "ana", tmp_path / "ana")
    assert not behind(tmp_path)

    switch_root(tmp_path)
    assert [entry.workload for entry in behind(tmp_path)] == ["ana"]
    (authority_directory(tmp_path) / "issued.jsonl").unlink()
    issue_files(tmp_path, "ana", tmp_path / "ana")
    assert not behind(tmp_path)
    retire_roots(tmp_path)


def test_a_change_of_the_root_takes_effect_without_a_restart(tmp_path: Path) -> None:
    trust_bundle_file(tmp_path)
    live = LiveAuthority(authority_directory(tmp_path))
    before = live.now()
    assert live.now() is before

    prepare_root(tmp_path)
    assert live.now().trust_bundle.count(b"BEGIN CERTIFICATE") == 2
    switch_root(tmp_path)
    assert live.now().intermediate != before.intermediate
