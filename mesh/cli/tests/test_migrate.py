from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from mesh.cli.main import run
from mesh.db.tests import ledger
from mesh.supervisor.project import Project

VERSIONS = Path(ledger.__file__).parent / "versions"


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """Two services with a database, and an edge without."""
    for name in ("shop", "stock"):
        (tmp_path / "parts" / name).mkdir(parents=True)
        (tmp_path / "parts" / name / "migrations").symlink_to(VERSIONS)
    services = ("shop", "stock", "edge")
    return Project(
        name="market",
        version="1",
        root=tmp_path,
        services=services,
        edge="edge",
        package="parts",
    )


def tables(path: Path) -> set[str]:
    with closing(sqlite3.connect(path)) as connection:
        return {row[0] for row in connection.execute("SELECT name FROM sqlite_master")}


def test_each_database_is_migrated_by_its_own_url(
    project: Project, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("shop", "stock"):
        (tmp_path / "secrets" / name).mkdir(parents=True)
        url = f"sqlite:///{tmp_path}/{name}.db"
        (tmp_path / "secrets" / name / "mesh_database_url").write_text(url + "\n")

    assert run(project, ["migrate", "--secrets", str(tmp_path / "secrets")]) == 0
    assert capsys.readouterr().out == "shop: up to date\nstock: up to date\n"
    for name in ("shop", "stock"):
        assert {"outbox", "service_revision"} <= tables(tmp_path / f"{name}.db")


def test_a_service_alone_is_migrated_as_its_settings_say(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MESH_DATABASE_URL", f"sqlite:///{tmp_path}/alone.db")

    assert run(project, ["migrate", "stock"]) == 0
    assert "outbox" in tables(tmp_path / "alone.db")


def test_services_never_share_a_database(
    project: Project,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("MESH_DATABASE_URL", f"sqlite:///{tmp_path}/shared.db")

    assert run(project, ["migrate"]) == 2
    assert "one database for several services" in capsys.readouterr().err
    assert not (tmp_path / "shared.db").exists()


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (["edge"], "edge has no database"),
        (["shop", "--secrets", "nowhere"], "no database is known for shop"),
    ],
)
def test_what_cannot_be_migrated_is_told(
    project: Project, arguments: list[str], what: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(project, ["migrate", *arguments]) != 0
    assert f"error: {what}" in capsys.readouterr().err


def test_a_database_that_is_away_is_waited_for_and_then_told(
    project: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MESH_DATABASE_URL", "postgresql://shop@127.0.0.1:1/shop")

    assert run(project, ["migrate", "shop", "--patience", "0"]) == 1
    assert "shop is not migrated" in capsys.readouterr().err
