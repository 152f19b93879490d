from __future__ import annotations

import asyncio
import os
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509

from mesh.errors import InvalidArgument, Unauthenticated
from mesh.identity.authority import Authority, new_key
from mesh.identity.directory import replace_all
from mesh.identity.files import issue_files
from mesh.identity.join import mint_join_token, verify_join_token
from mesh.identity.spiffe import spiffe_id, workload_of_id

HOUR = timedelta(hours=1)


def test_the_authority_is_founded_once(tmp_path: Path) -> None:
    first = Authority.open(tmp_path / "authority")

    again = Authority.open(tmp_path / "authority")

    assert again.trust_bundle == first.trust_bundle
    assert again.join_secret == first.join_secret


async def test_of_many_founders_one_wins(tmp_path: Path) -> None:
    opened = await asyncio.gather(
        *(asyncio.to_thread(Authority.open, tmp_path / "authority") for _ in range(8))
    )

    assert len({authority.trust_bundle for authority in opened}) == 1
    assert os.listdir(tmp_path) == ["authority"]


def test_nobody_else_may_read_its_files(tmp_path: Path) -> None:
    Authority.open(tmp_path / "authority")

    files = [path for path in (tmp_path / "authority").rglob("*") if path.is_file()]
    assert len(files) == 2 * 4 + 2
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
    assert stat.S_IMODE((tmp_path / "authority").stat().st_mode) == 0o700


def test_a_certificate_names_its_workload_and_nothing_else(tmp_path: Path) -> None:
    authority = Authority.open(tmp_path / "authority")

    issued = authority.issue("accounts", new_key().public_key(), HOUR)

    leaf, intermediate = x509.load_pem_x509_certificates(issued.chain_pem)
    (root,) = x509.load_pem_x509_certificates(authority.trust_bundle)
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert list(names) == [x509.UniformResourceIdentifier("spiffe://bank.local/accounts")]
    leaf.verify_directly_issued_by(intermediate)
    intermediate.verify_directly_issued_by(root)
    assert issued.expires_at <= datetime.now(UTC) + HOUR


def test_the_intermediate_is_renewed_with_the_same_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = Authority.open(tmp_path / "authority")
    monkeypatch.setattr("mesh.identity.authority._INTERMEDIATE_RENEWAL", timedelta(days=366))

    renewed = Authority.open(tmp_path / "authority")

    assert renewed.intermediate.serial_number != old.intermediate.serial_number
    assert renewed.intermediate.public_key() == old.intermediate.public_key()


@pytest.mark.parametrize("name", ["", "Accounts", "a/b", "../x", "1st", "a" * 64, "a b"])
def test_what_cannot_be_a_workload_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument):
        spiffe_id(name)
    with pytest.raises(InvalidArgument):
        mint_join_token(tmp_path, name, HOUR)


@pytest.mark.parametrize(
    "uri",
    ["accounts", "spiffe://bank.local/", "spiffe://other/accounts", "spiffe://bank.local/a/b"],
)
def test_a_foreign_id_is_refused(uri: str) -> None:
    with pytest.raises(Unauthenticated):
        workload_of_id(uri)


def test_a_join_token_names_one_workload(tmp_path: Path) -> None:
    token = mint_join_token(tmp_path, "accounts", HOUR)

    secret = Authority.open(tmp_path / "authority").join_secret
    assert verify_join_token(secret, token) == "accounts"


def test_bad_join_tokens_are_refused(tmp_path: Path) -> None:
    secret = Authority.open(tmp_path / "authority").join_secret
    good = mint_join_token(tmp_path, "accounts", HOUR)
    head, body, signature = good.split(".")
    unsigned = "eyJhbGciOiJub25lIn0." + body + "."
    for bad in (
        "",
        "x",
        mint_join_token(tmp_path, "accounts", -HOUR),
        mint_join_token(tmp_path / "other", "accounts", HOUR),
        f"{head}.{body}.{signature[::-1]}",
        unsigned,
    ):
        with pytest.raises(Unauthenticated):
            verify_join_token(secret, bad)


def test_a_set_of_files_is_replaced_at_once(tmp_path: Path) -> None:
    directory = tmp_path / "identity"
    for number in range(4):
        replace_all(directory, {"cert.pem": b"c%d" % number, "key.pem": b"k%d" % number})

    assert (directory / "cert.pem").read_bytes() == b"c3"
    assert (directory / "key.pem").read_bytes() == b"k3"
    assert (directory / "cert.pem").resolve().parent == (directory / "key.pem").resolve().parent
    assert stat.S_IMODE((directory / "key.pem").stat().st_mode) == 0o600


def test_old_sets_of_files_are_forgotten_after_a_while(tmp_path: Path) -> None:
    replace_all(tmp_path, {"cert.pem": b"old"})
    (old,) = tmp_path.glob(".set-*")
    os.utime(old, (0, 0))

    replace_all(tmp_path, {"cert.pem": b"new"})

    assert not old.exists()
    assert (tmp_path / "cert.pem").read_bytes() == b"new"


async def test_several_processes_may_replace_the_same_files(tmp_path: Path) -> None:
    def replace(number: int) -> None:
        replace_all(tmp_path, {"cert.pem": b"%d" % number, "key.pem": b"%d" % number})

    await asyncio.gather(*(asyncio.to_thread(replace, number) for number in range(16)))

    assert (tmp_path / "cert.pem").read_bytes() == (tmp_path / "key.pem").read_bytes()


def test_files_for_a_foreign_client_are_complete(tmp_path: Path) -> None:
    expires_at = issue_files(tmp_path / "plane", "sre", tmp_path / "out", ttl=HOUR)

    assert expires_at > datetime.now(UTC)
    names = {path.name for path in (tmp_path / "out").iterdir() if not path.name.startswith(".")}
    assert names == {"cert.pem", "key.pem", "bundle.pem", "bootstrap.json"}
