"""An identity for whoever is not started by the supervisor: an SRE, or a client in any language.

Works from the control plane's data directory, without asking the control plane.
"""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from pathlib import Path

from mesh.identity.authority import Authority, new_key, pem_of
from mesh.identity.directory import BUNDLE, CERTIFICATE, KEY, replace_all
from mesh.identity.issued import note
from mesh.identity.join import authority_directory
from mesh.xds.bootstrap import Node, bootstrap

__all__ = ["BOOTSTRAP", "issue_files"]

BOOTSTRAP = "bootstrap.json"


def issue_files(
    data_dir: Path,
    workload: str,
    out_dir: Path,
    *,
    ttl: timedelta = timedelta(hours=24),
    control_plane: str = "localhost:18000",
) -> datetime:
    """Writes `cert.pem`, `key.pem`, `bundle.pem` and `bootstrap.json` (mode 0600) to a directory.

    A gRPC client joins the mesh with `GRPC_XDS_BOOTSTRAP` set to the last. Tells when the
    certificate expires. Raises `InvalidArgument` for a name that cannot be a workload's.
    """
    authority = Authority.open(authority_directory(data_dir))
    key = new_key()
    issued = authority.issue(workload, key.public_key(), ttl)
    note(authority_directory(data_dir), authority, workload, issued)
    out_dir = out_dir.absolute()
    node = Node(
        service=workload,
        instance_id=f"{workload}-{out_dir.name}",
        zone="local",
        version="",
        control_plane=control_plane,
    )
    replace_all(
        out_dir,
        {
            CERTIFICATE: issued.chain_pem,
            KEY: pem_of(key),
            BUNDLE: authority.trust_bundle,
            BOOTSTRAP: json.dumps(bootstrap(node, out_dir), indent=2).encode(),
        },
    )
    return issued.expires_at
