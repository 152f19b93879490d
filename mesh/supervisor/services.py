"""A service as a child: its settings, its join token, the ports it is given."""

from __future__ import annotations

import sys
from datetime import timedelta
from pathlib import Path

from mesh.supervisor.endpoints import Endpoints
from mesh.supervisor.files import write_private
from mesh.supervisor.health import http_ready
from mesh.supervisor.nats import nats_url
from mesh.supervisor.platform import child_environment, control_data
from mesh.supervisor.ports import LOOPBACK, free_port
from mesh.supervisor.process import Launch, Program
from mesh.supervisor.project import Project

__all__ = ["service_program"]

# A process shows it for its first certificate and for each renewal, and gets a new one when it
# starts.
JOIN_TOKEN_LIFE = timedelta(days=30)
GRACE_S = 25.0


def service_program(
    project: Project,
    name: str,
    data: Path,
    endpoints: Endpoints,
    rest_port: int | None,
    version: str = "",
    database_url: str = "",
) -> Program:
    """A service of the project; `rest_port` is where the edge serves REST, and None elsewhere.

    `version` is what it registers as, where it is not the project's; without a `database_url` it
    keeps a SQLite file.
    """
    version = version or project.version

    def launch(id: str) -> Launch:
        own, admin = free_port(), free_port()
        settings = {
            "MESH_SERVICE": name,
            "MESH_INSTANCE_ID": id,
            "MESH_VERSION": version,
            "MESH_LISTEN": f"{LOOPBACK}:{own}",
            "MESH_ADMIN_LISTEN": f"{LOOPBACK}:{admin}",
            "MESH_CONTROL_PLANE": endpoints.xds,
            "MESH_REGISTRY": endpoints.registry,
            "MESH_IDENTITY": endpoints.identity,
            "MESH_NATS_URL": nats_url(data, endpoints.nats, name),
            "MESH_OTLP_URL": endpoints.otlp,
            "MESH_TRACE_PAGE": f"{endpoints.traces}/trace/{{trace_id}}",
            # Nobody but this machine reaches them, and `stat` and `mesh diff` read them.
            "MESH_DEBUG_SERVICES": "true",
            **_credentials(data, name),
        }
        address = f"{LOOPBACK}:{own}"
        if database_url:
            settings["MESH_DATABASE_URL"] = database_url
        if name == project.edge:
            address = f"{LOOPBACK}:{rest_port or free_port()}"
            settings["MESH_HTTP_LISTEN"] = address
        return Launch(
            argv=[sys.executable, "-m", f"{project.package}.{name}"],
            env=child_environment(project.root, data, **settings),
            address=address,
            missing=http_ready(admin, "/readyz"),
            admin=admin,
        )

    return Program(name=name, launch=launch, version=version, grace_s=GRACE_S)


def _credentials(data: Path, name: str) -> dict[str, str]:
    from mesh.identity.join import mint_join_token, trust_bundle_file

    token = data / "identity" / f"{name}.token"
    token.parent.mkdir(mode=0o700, exist_ok=True)
    write_private(token, mint_join_token(control_data(data), name, JOIN_TOKEN_LIFE))
    return {
        "MESH_JOIN_TOKEN_FILE": str(token),
        "MESH_TRUST_BUNDLE_FILE": str(trust_bundle_file(control_data(data))),
    }
