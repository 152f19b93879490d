"""What a process is told from outside, read once when it starts (twelve-factor, III).

Every default is good enough to run a service alone on a laptop. Variables begin with `MESH_`;
two are the bank's own: `BANK_ENV` and `BANK_DATA`. A secret need not be a variable: a file in
`/run/secrets` that has a variable's name, in small letters, is read as well.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from mesh.ids import new_id

__all__ = ["Settings"]

# Where compose and Kubernetes put the files of a process's secrets.
_SECRETS = Path("/run/secrets")


def _database_url(known: dict[str, Any]) -> str:
    return f"sqlite:///{known['data_dir']}/{known['service']}/{known['service']}.db"


def _join_token_file(known: dict[str, Any]) -> Path:
    path: Path = known["data_dir"] / "identity" / f"{known['service']}.token"
    return path


def _identity_dir(known: dict[str, Any]) -> Path:
    path: Path = known["data_dir"] / known["service"] / "identity"
    return path


def _trust_bundle_file(known: dict[str, Any]) -> Path:
    path: Path = known["data_dir"] / "identity" / "bundle.pem"
    return path


class Settings(BaseSettings):
    """The settings of one process. Addresses are `host:port`; port 0 means any that is free.

    Raises `pydantic.ValidationError` when made of something that makes no sense.
    """

    model_config = SettingsConfigDict(
        env_prefix="MESH_",
        frozen=True,
        populate_by_name=True,
        extra="ignore",
        secrets_dir=_SECRETS if _SECRETS.is_dir() else None,
    )

    service: str = Field(pattern=r"^[a-z][a-z0-9-]{0,40}$")
    env: Literal["dev", "production"] = Field(default="dev", validation_alias="BANK_ENV")
    instance_id: str = Field(default_factory=new_id)
    version: str = "0.1.0"
    zone: str = "local"

    listen: str = "127.0.0.1:0"
    http_listen: str = "127.0.0.1:8080"
    admin_listen: str = "127.0.0.1:0"
    # The host under which others reach `listen`, where they do not by that name.
    advertise: str = ""

    data_dir: Path = Field(default=Path(".bank"), validation_alias="BANK_DATA")
    database_url: str = Field(default_factory=_database_url)
    # In production a job of its own migrates, before the new code starts.
    migrate_at_start: bool = Field(default_factory=lambda known: known["env"] == "dev")

    # Empty: events stay in the outbox, and none are heard.
    nats_url: str = "nats://127.0.0.1:4222"
    # How many NATS nodes keep each event of a stream that this process makes.
    stream_replicas: int = Field(default=1, ge=1, le=5)
    # Every address behind the name is a replica. Empty: another mesh's, which registers nobody.
    control_plane: str = "localhost:18000"
    # The addresses of the replicas, with commas, where they have one name and port together.
    registry: str = ""
    # Empty: the certificate is put into `identity_dir` from outside, and replaced there.
    identity: str = "localhost:18001"
    identity_dir: Path = Field(default_factory=_identity_dir)
    # The bootstrap of another mesh's control plane, instead of one made of these settings.
    xds_bootstrap: Path | None = Field(default=None, validation_alias="GRPC_XDS_BOOTSTRAP")
    # How a service is called by its name: by xDS, or by whatever gRPC resolves.
    target: str = Field(default="xds:///{service}", pattern=r"\{service\}")
    join_token_file: Path = Field(default_factory=_join_token_file)
    trust_bundle_file: Path = Field(default_factory=_trust_bundle_file)

    otlp_url: str = "http://127.0.0.1:4318"
    # The page on which people look at a trace.
    trace_page: str = Field(
        default="http://127.0.0.1:16686/trace/{trace_id}", pattern=r"\{trace_id\}"
    )
    trace_ratio: float = Field(default=1.0, ge=0.0, le=1.0)
    # Where a Jaeger tells which traces to record (remote sampling over HTTP). Empty: `trace_ratio`.
    sampling_url: str = ""
    log_format: Literal["json", "console"] = "json"
    token_issuer_service: str = "users"  # noqa: S105
    # The event by which that service tells that sessions have ended (`meshapi.v1.EndedSessions`).
    session_end_event: str = "bank.users.v1.SessionsRevoked"
    # The workloads that act for people: they trade access tokens for internal ones.
    edges: frozenset[str] = frozenset({"bff", "operator"})

    # Whose word of the client's address is taken (`X-Forwarded-For`): networks, with commas.
    trusted_proxies: str = ""
    # Makes what one may ask of the edge more or less (`meshapi.v1.Policy.rates`); 0: no limits.
    rate_scale: float = Field(default=1.0, ge=0.0)

    max_unfinished_sagas: int = Field(default=2_000, ge=1)
    # The summed cost (`meshapi.v1.Policy.cost`) of the calls that run at once.
    max_running_cost: int = Field(default=1_000, ge=1)
    drain_s: float = Field(default=20.0, ge=0.0)
    # channelz and CSDS (gRFC A14, A40): they show addresses and certificates.
    debug_services: bool = False

    @model_validator(mode="after")
    def _keeps_to_itself(self) -> Self:
        if self.is_production and self.nats_url and not self.nats_url.startswith("tls://"):
            # Its password would be told to whoever listens.
            raise ValueError("In production NATS is at tls://USER:PASSWORD@HOST:PORT.")
        return self

    @property
    def is_production(self) -> bool:
        """Whether real money moves: no sandbox, no reflection, no migration at the start."""
        return self.env == "production"
