"""Where things are, once the ports are known."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from mesh.supervisor.ports import LOOPBACK, Ports

__all__ = ["Endpoints"]


@dataclass(frozen=True, kw_only=True)
class Endpoints:
    """The addresses that people and programs use."""

    rest: str
    dashboard: str
    traces: str
    otlp: str
    nats: str
    xds: str
    identity: str

    @classmethod
    def of(cls, ports: Ports) -> Endpoints:
        """The endpoints of an embedded profile on these ports."""
        return cls(
            rest=f"http://{LOOPBACK}:{ports.rest}",
            dashboard=f"http://{LOOPBACK}:{ports.dashboard}",
            traces=f"http://{LOOPBACK}:{ports.traces}",
            otlp=f"http://{LOOPBACK}:{ports.otlp}",
            nats=f"nats://{LOOPBACK}:{ports.nats}",
            # The control plane's certificate names the host, not its address.
            xds=f"localhost:{ports.xds}",
            identity=f"localhost:{ports.identity}",
        )

    def public(self) -> dict[str, str]:
        """The endpoints that `status` shows."""
        return {name: url for name, url in asdict(self).items() if name != "identity"}
