"""What the services stand on besides NATS: the control plane and the trace store."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

from mesh.supervisor.endpoints import Endpoints
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


def control_data(data: Path, number: int = 1) -> Path:
    """Where a replica of the control plane keeps its data; the first one, the authority too."""
    return data / ("control-plane" if number == 1 else f"control-plane-{number}")


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


def control_program(root: Path, data: Path, ports: Ports, endpoints: Endpoints) -> Program:
    """The control plane: xDS, the registry, the workloads' certificates.

    Where there are several of it, they share the port that all others know, the authority, and the
    policy in NATS, and each has a port and a data directory of its own.
    """

    def launch(id: str) -> Launch:
        from mesh.supervisor.nats import nats_url

        admin, number = free_port(), int(id.rpartition("-")[2])
        own = endpoints.control_planes[number - 1].replace("localhost", LOOPBACK)
        shared = {"MESH_XDS_SHARED_LISTEN": f"{LOOPBACK}:{ports.xds}"} if endpoints.registry else {}
        env = child_environment(
            root,
            data,
            MESH_XDS_DATA_DIR=str(control_data(data, number)),
            MESH_XDS_AUTHORITY_DATA_DIR=str(control_data(data)),
            MESH_XDS_LISTEN=own,
            MESH_XDS_IDENTITY_LISTEN=f"{LOOPBACK}:{ports.identity}",
            MESH_XDS_ADMIN_LISTEN=f"{LOOPBACK}:{admin}",
            MESH_XDS_NATS_URL=nats_url(data, endpoints.nats, "control-plane"),
            **shared,
        )
        return Launch(
            argv=[sys.executable, "-m", "mesh.xds"],
            env=env,
            address=own,
            missing=http_ready(admin, "/readyz"),
            admin=admin,
        )

    return Program(name="control-plane", launch=launch)
