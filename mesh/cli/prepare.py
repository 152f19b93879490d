"""prepare: makes the secrets that a deployment needs before anything of it can start.

A folder for each part, with the files that it reads, so that a part is given its own folder and
nothing else:

authority/              the certificate authority with its root: nobody's but this command's, which
                        is why it can be kept elsewhere
control-plane/          what the control plane issues with: all of the authority but the root;
                        mesh_xds_nats_url, for the policy that its replicas share
SERVICE/                join.token, bundle.pem, mesh_nats_url, mesh_database_url, and master.key,
                        for what a service keeps sealed: whoever loses it loses that
postgres/               the administrator's password, and SERVICE.password for each role
nats/                   users.conf, who may do what, for `include`; cert.pem and key.pem, issued
                        anew each time; USER.password
grafana/admin.password

What is there stays as it is, but for the join tokens, which are minted anew each time.
"""

from __future__ import annotations

import secrets
from datetime import timedelta
from pathlib import Path
from typing import Annotated

import typer

from mesh.cli.migrate import DATABASE_URL, with_database
from mesh.identity.directory import write_private
from mesh.supervisor.files import password
from mesh.supervisor.nats import prepare_nats
from mesh.supervisor.ports import LOOPBACK
from mesh.supervisor.project import Project

__all__ = ["prepare", "register"]

# Read by images that run as somebody else: their folder is what keeps others out.
_FOR_IMAGES = 0o644
_CONTROL_PLANE = "control-plane"
_MASTER_KEY_BYTES = 48


def register(app: typer.Typer, project: Project) -> None:
    """Adds the command."""

    @app.command(name="prepare")
    def command(
        out: Annotated[Path, typer.Option(help="The folder to write to.")],
        root: Annotated[
            Path | None, typer.Option(help="Where authority/ is; with the rest.")
        ] = None,
        database: Annotated[str, typer.Option(help="PostgreSQL's host:port.")] = "postgres:5432",
        nats: Annotated[str, typer.Option(help="NATS' host:port.")] = "nats:4222",
        days: Annotated[int, typer.Option(help="How long a join token is good.", min=1)] = 90,
    ) -> None:
        """Make the secrets of a deployment: keys, tokens, passwords."""
        life = timedelta(days=days)
        prepare(project, out, root or out, database=database, nats=nats, token_life=life)
        print(f"{out}: the secrets of {', '.join(project.services)}")


def prepare(
    project: Project, out: Path, root: Path, *, database: str, nats: str, token_life: timedelta
) -> None:
    """Writes what is missing to `out`, and `authority/` to `root`; addresses are `host:port`.

    A process shows its join token whenever it renews its certificate: the job is to run again
    before `token_life` is over.
    """
    from mesh.identity.authority import Authority
    from mesh.identity.join import authority_directory, mint_join_token

    authority = Authority.open(authority_directory(root))
    _keep_authority(root, out)
    host = nats.rpartition(":")[0]
    names = (host, *(f"{host}-{number}" for number in range(1, 4)), "localhost", LOOPBACK)
    passwords = prepare_nats(project, out / "nats", authority_directory(root), names)
    urls = {name: f"tls://{name}:{word}@{nats}".encode() for name, word in passwords.items()}
    _write(out / _CONTROL_PLANE / "mesh_xds_nats_url", urls[_CONTROL_PLANE])
    for name in project.services:
        folder = out / name
        _write(folder / "bundle.pem", authority.trust_bundle)
        _write(folder / "join.token", mint_join_token(root, name, token_life).encode())
        _write(folder / "mesh_nats_url", urls[name])
    for name in with_database(project):
        word = _password(out / "postgres" / f"{name}.password")
        url = f"postgresql://{name}:{word}@{database}/{name}"
        _write(out / name / DATABASE_URL, url.encode())
        _master_key(out / name / "master.key")
    _password(out / "postgres" / "admin.password")
    _password(out / "grafana" / "admin.password")


def _keep_authority(root: Path, out: Path) -> None:
    """Copies the authority for the control plane, which needs no root to issue."""
    from mesh.identity.join import authority_directory

    source, target = authority_directory(root), authority_directory(out / _CONTROL_PLANE)
    for name in ("intermediate/cert.pem", "intermediate/key.pem", "bundle.pem", "join.key"):
        _write(target / name, (source / name).read_bytes())


def _master_key(path: Path) -> None:
    """Makes up a key that nothing can replace, unless there is one."""
    if not path.exists():
        _write(path, secrets.token_urlsafe(_MASTER_KEY_BYTES).encode())


def _password(path: Path) -> str:
    word = password(path)
    path.chmod(_FOR_IMAGES)
    return word


def _write(path: Path, content: bytes, mode: int = 0o600) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_private(path, content)
    path.chmod(mode)
