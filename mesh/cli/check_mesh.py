"""The checks of the mesh: its processes, its control plane, its clients, its certificates."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import partial

from mesh.cli.findings import Examination, Finding, Level
from mesh.supervisor.running import Running

__all__ = ["mesh_examinations"]

# A certificate is renewed at half its life: with less left than this, that has failed.
WORRYING_PART = 0.35
# A client that has an answer for longer does not read it.
STALE_S = 5.0
ROOT_LEFT = timedelta(days=30)


def mesh_examinations(running: Running) -> dict[str, Examination]:
    """What is looked at, by name."""
    return {
        "processes": partial(_processes, running),
        "control plane": partial(_control_plane, running),
        "clients": partial(_clients, running),
        "certificates": partial(_certificates, running),
        "roots": partial(_roots, running),
    }


def _processes(running: Running) -> Iterator[Finding]:
    status = running.status()
    services = [*status["platform"], *status["services"]]
    well = 0
    for service in services:
        instances = service["instances"]
        ready = [each for each in instances if each["state"] == "READY"]
        lacks = "; ".join(each["missing"] for each in instances if each["missing"])
        text = f"{service['name']}: {len(ready)} of {len(instances)} ready"
        if instances and len(ready) == len(instances):
            well += 1
        else:
            hint = f"./bank logs {service['name']}"
            level = Level.WARNING if ready else Level.ERROR
            yield Finding("processes", f"{text}: {lacks}" if lacks else text, level, hint)
    yield Finding("processes", f"{well} of {len(services)} programs ready, each with all instances")


def _control_plane(running: Running) -> str:
    from mesh.cli.control import control_plane

    with control_plane(running) as plane:
        instances = plane.instances()
    services = {each.service for each in instances}
    return f"it answers: {len(services)} services, {len(instances)} instances registered"


def _clients(running: Running) -> Iterator[Finding]:
    from mesh.cli.clients import state_name
    from mesh.cli.control import control_plane

    with control_plane(running) as plane:
        clients = plane.clients()
    synced = 0
    for client in clients:
        state = state_name(client.state)
        if state in ("SYNCED", "-"):
            synced += 1
            continue
        waiting = max(each.waiting.ToMilliseconds() / 1e3 for each in client.types)
        errors = "; ".join(each.error for each in client.types if each.error)
        text = f"{client.node_id} is {state}: {errors or f'for {waiting:.1f} s'}"
        is_bad = state == "NACKED" or waiting > STALE_S
        level = Level.ERROR if is_bad else Level.WARNING
        yield Finding("clients", text, level, f"./bank mesh diff {client.node_id}")
    yield Finding("clients", f"{synced} of {len(clients)} streams have what they should")


def _certificates(running: Running) -> Iterator[Finding]:
    from mesh.cli.control import control_plane, operator_identity
    from mesh.cli.handshake import handshake

    identity = operator_identity(running)
    with control_plane(running) as plane:
        instances = plane.instances()
    lives: list[timedelta] = []
    for instance in instances:
        shown = handshake(instance.address, identity)
        hint = f"./bank restart {instance.service}"
        problem = shown.problem
        if not problem and not shown.is_mutual:
            problem = "it speaks to peers without a certificate"
        if not problem and shown.workload != instance.service:
            problem = f"its certificate is that of {shown.workload}"
        if problem:
            yield Finding("certificates", f"{instance.instance_id}: {problem}", Level.ERROR, hint)
            continue
        lives.append(shown.left)
        if shown.left < shown.life * WORRYING_PART:
            text = f"{instance.instance_id} was not renewed: {_span(shown.left)} left"
            yield Finding("certificates", text, Level.WARNING, hint)
    if lives:
        text = f"{len(lives)} instances with mutual TLS; the next expires in {_span(min(lives))}"
        yield Finding("certificates", text)


def _roots(running: Running) -> Iterator[Finding]:
    from cryptography import x509

    from mesh.cli.control import operator_identity

    roots = x509.load_pem_x509_certificates(operator_identity(running).roots.read_bytes())
    left = min(root.not_valid_after_utc for root in roots) - datetime.now(UTC)
    text = f"{len(roots)} trusted; the next expires in {_span(left)}"
    if left < ROOT_LEFT:
        yield Finding("roots", text, Level.WARNING, "./bank mesh certs rotate-root prepare")
    else:
        yield Finding("roots", text)


def _span(time: timedelta) -> str:
    if time >= timedelta(days=2):
        return f"{time.days} days"
    minutes = int(time.total_seconds() // 60)
    return f"{minutes // 60} h {minutes % 60} min"
