"""What the control plane is told from outside. Variables begin with `MESH_XDS_`."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

__all__ = ["ControlPlaneSettings"]

# As of any process: `mesh.settings`.
_SECRETS = Path("/run/secrets")


class ControlPlaneSettings(BaseSettings):
    """The settings of the control plane. Addresses are `host:port`.

    Raises `pydantic.ValidationError` when made of something that makes no sense.
    """

    model_config = SettingsConfigDict(
        env_prefix="MESH_XDS_",
        frozen=True,
        extra="ignore",
        secrets_dir=_SECRETS if _SECRETS.is_dir() else None,
    )

    # Holds the authority and the catalogue; nobody else may read it.
    data_dir: Path = Path(".bank/control-plane")
    # Replicas of a control plane have one authority, whose data directory this is; else the own.
    authority_data_dir: Path = Field(default_factory=lambda known: known["data_dir"])
    listen: str = "127.0.0.1:18000"
    identity_listen: str = "127.0.0.1:18001"
    # Replicas on one machine listen here together (SO_REUSEPORT), and at `identity_listen` too:
    # who connects is given to one of them, and to another one when that one has ended.
    shared_listen: str = ""
    # Empty means none.
    admin_listen: str = ""
    # Where the operator's policy is kept, with its history. Empty: in the data directory.
    nats_url: str = ""
    # The host names that processes reach the control plane by.
    server_names: tuple[str, ...] = ("localhost", "127.0.0.1")

    # A mesh without its control plane lives at least half as long.
    certificate_ttl_s: float = Field(default=6 * 3600.0, gt=0.0, le=24 * 3600.0)
    # An instance that is silent for longer is withdrawn. It beats once a second.
    lease_ttl_s: float = Field(default=3.0, ge=0.1)
    # How long the instances of the last run are believed in after a restart.
    return_window_s: float = Field(default=10.0, ge=0.0)
    # How long after the start instances and clients are given to return: a name that nobody knows
    # is left unanswered, and no state is acknowledged.
    silence_s: float = Field(default=2.0, ge=0.0)
    # How long a service keeps its last instance after its stream ended without a goodbye.
    last_instance_grace_s: float = Field(default=5.0, ge=0.0)

    log_format: Literal["json", "console"] = "json"
