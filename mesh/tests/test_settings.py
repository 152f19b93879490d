from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from mesh.settings import Settings


@pytest.fixture(autouse=True)
def nothing_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("BANK_ENV", "BANK_DATA", "MESH_DATABASE_URL", "MESH_SERVICE"):
        monkeypatch.delenv(name, raising=False)


def test_a_service_needs_nothing_but_its_name() -> None:
    settings = Settings(service="transfers")

    assert settings.database_url == "sqlite:///.bank/transfers/transfers.db"
    assert settings.join_token_file == Path(".bank/identity/transfers.token")
    assert settings.migrate_at_start
    assert not settings.is_production


def test_variables_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BANK_ENV", "production")
    monkeypatch.setenv("BANK_DATA", "/var/bank")
    monkeypatch.setenv("MESH_ZONE", "b")
    monkeypatch.setenv("MESH_NATS_URL", "tls://pix:word@nats:4222")
    settings = Settings(service="pix")

    assert settings.is_production
    assert settings.database_url == "sqlite:////var/bank/pix/pix.db"
    assert settings.zone == "b"
    # A job of its own migrates in production.
    assert not settings.migrate_at_start


def test_a_password_goes_nowhere_in_plain_text_in_production() -> None:
    with pytest.raises(ValidationError, match="tls://"):
        Settings(service="pix", env="production", nats_url="nats://pix:word@nats:4222")


def test_two_processes_have_two_names() -> None:
    assert Settings(service="pix").instance_id != Settings(service="pix").instance_id


def test_settings_cannot_be_changed() -> None:
    settings = Settings(service="pix")

    with pytest.raises(ValidationError):
        settings.zone = "c"


@pytest.mark.parametrize(
    "nonsense", [{"service": "../etc"}, {"env": "prod"}, {"trace_ratio": 2}, {"drain_s": -1}]
)
def test_what_makes_no_sense_is_refused(nonsense: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Settings.model_validate({"service": "pix", **nonsense})
