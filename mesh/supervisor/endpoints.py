"""Where things are, once the ports are known."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from mesh.supervisor.ports import LOOPBACK, Ports, free_port

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
    # Each replica of the control plane, with commas, where there are several behind `xds`.
    registry: str = ""

    @classmethod
    def of(cls, ports: Ports, control_planes: int = 1) -> Endpoints:
        """The endpoints of an embedded profile on these ports."""
        replicas = [free_port() for _ in range(control_planes)] if control_planes > 1 else []
        return cls(
            rest=f"http://{LOOPBACK}:{ports.rest}",
            dashboard=f"http://{LOOPBACK}:{ports.dashboard}",
            traces=f"http://{LOOPBACK}:{ports.traces}",
            otlp=f"http://{LOOPBACK}:{ports.otlp}",
            # Certificates name the host, not its address.
            nats=f"tls://localhost:{ports.nats}",
            xds=f"localhost:{ports.xds}",
            identity=f"localhost:{ports.identity}",
            registry=",".join(f"localhost:{port}" for port in replicas),
        )

    def public(self) -> dict[str, str]:
        """The endpoints that `status` shows."""
        private = ("identity", "registry")
        return {name: url for name, url in asdict(self).items() if name not in private}

    @property
    def control_planes(self) -> list[str]:
        """Each replica of the control plane; where there is one, the address that all know."""
        return self.registry.split(",") if self.registry else [self.xds]
