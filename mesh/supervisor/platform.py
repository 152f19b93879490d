"""What the services stand on besides NATS: the control plane and the trace store."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

from mesh.supervisor.health import http_ready
from mesh.supervisor.ports import LOOPBACK, Ports, free_port
from mesh.supervisor.process import Launch, Program

__all__ = ["child_environment", "control_data", "control_program", "traces_program"]


def child_environment(root: Path, data: Path, **settings: str) -> Mapping[str, str]:
    """The environment of a child: this one's, less another process's `MESH_*`, and its own."""
    inherited = {
        key: value
        for key, value in os.environ.items()
        if not key.startswith(("MESH_", "GRPC_XDS_"))
    }
    paths = [str(root), str(root / "protos/gen"), os.environ.get("PYTHONPATH", "")]
    return {
        **inherited,
        "BANK_DATA": str(data),
        # `-m` finds packages in the working directory; the generated contracts lie deeper.
        "PYTHONPATH": os.pathsep.join(filter(None, paths)),
        "PYTHONUNBUFFERED": "1",
        "MESH_LOG_FORMAT": "json",
        **settings,
    }


def control_data(data: Path) -> Path:
    """Where the control plane keeps its certificate authority."""
    return data / "control-plane"


def traces_program(root: Path, data: Path, ports: Ports) -> Program:
    """The embedded trace store: takes OTLP, answers Jaeger's queries."""

    def launch(_: str) -> Launch:
        argv = [sys.executable, "-m", "observability.tracestore"]
        argv += ["--port", str(ports.traces), "--otlp-port", str(ports.otlp)]
        argv += ["--data", str(data / "traces")]
        return Launch(
            argv=argv,
            env=child_environment(root, data),
            address=f"{LOOPBACK}:{ports.traces}",
            missing=http_ready(ports.traces, "/api/v3/services"),
        )

    return Program(name="traces", launch=launch)


def control_program(root: Path, data: Path, ports: Ports) -> Program:
    """The control plane: xDS, the registry, the workloads' certificates."""

    def launch(_: str) -> Launch:
        admin = free_port()
        env = child_environment(
            root,
            data,
            MESH_XDS_DATA_DIR=str(control_data(data)),
            MESH_XDS_LISTEN=f"{LOOPBACK}:{ports.xds}",
            MESH_XDS_IDENTITY_LISTEN=f"{LOOPBACK}:{ports.identity}",
            MESH_XDS_ADMIN_LISTEN=f"{LOOPBACK}:{admin}",
            MESH_XDS_NATS_URL=f"nats://{LOOPBACK}:{ports.nats}",
        )
        return Launch(
            argv=[sys.executable, "-m", "mesh.xds"],
            env=env,
            address=f"{LOOPBACK}:{ports.xds}",
            missing=http_ready(admin, "/readyz"),
            admin=admin,
        )

    return Program(name="control-plane", launch=launch)
