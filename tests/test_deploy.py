"""The files that bring the bank up elsewhere: read by their own tools, held to their promises.

Nothing here starts a container.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from mesh.settings import Settings
from services.__main__ import BANK

ROOT = Path(__file__).parents[1]
KUBERNETES = ROOT / "deploy" / "kubernetes"
OVERLAYS = ("own-control-plane", "istio")
JOBS = {"prepare", "migrate"}
# What a person opens, on this machine only.
PUBLISHED = {"bff", "jaeger", "grafana"}
ADMIN_PORT = 9464


def tool(name: str) -> str:
    """Finds a tool of the development requirements."""
    found = shutil.which(
        name, path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    )
    if found is None:
        pytest.skip(f"{name} has no wheel for this machine")
    return found


def output_of(*command: str | Path) -> str:
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    assert not done.stderr, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    """The file as compose understands it."""
    text = output_of(tool("docker-compose"), "config", "--format", "json", "--no-path-resolution")
    model: dict[str, Any] = json.loads(text)
    return model


@pytest.fixture(scope="module", params=OVERLAYS)
def manifests(request: pytest.FixtureRequest) -> list[dict[str, Any]]:
    """The objects of an overlay."""
    text = output_of(tool("kubectl"), "kustomize", KUBERNETES / "overlays" / request.param)
    return list(yaml.safe_load_all(text))


def test_every_service_is_in_compose_and_starts_in_any_order(compose: dict[str, Any]) -> None:
    services = compose["services"]

    assert set(BANK.services) <= set(services)
    for name in BANK.services:
        assert services[name]["build"]["args"] == {"SERVICE": name}
        assert set(services[name]["depends_on"]) == {"migrate"}


def test_every_image_is_of_a_version(compose: dict[str, Any]) -> None:
    for name, service in compose["services"].items():
        tag = service["image"].partition(":")[2]
        assert tag not in ("", "latest"), name
        assert "build" in service or name == "migrate" or re.match(r"v?\d+\.\d+", tag), name


def test_whatever_runs_on_has_a_health_check_and_limits(compose: dict[str, Any]) -> None:
    for name, service in compose["services"].items():
        limits = service["deploy"]["resources"]["limits"]
        assert {"cpus", "memory", "pids"} <= set(limits), name
        if name in JOBS:
            assert service["restart"] == "no"
        else:
            assert service["healthcheck"]["test"], name
            assert service["restart"] == "unless-stopped"


def test_nothing_in_compose_runs_as_root_or_may_become_it(compose: dict[str, Any]) -> None:
    for name, service in compose["services"].items():
        assert service["user"].split(":")[0] != "0", name
        assert service["read_only"], name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert service["init"], name


def test_only_what_a_person_opens_is_published_and_on_loopback(compose: dict[str, Any]) -> None:
    services = compose["services"]

    assert {name for name, service in services.items() if "ports" in service} == PUBLISHED
    for name in PUBLISHED:
        assert {port["host_ip"] for port in services[name]["ports"]} == {"127.0.0.1"}
    assert not [name for name, service in services.items() if "container_name" in service]


def test_secrets_are_files_and_each_part_is_given_its_own(compose: dict[str, Any]) -> None:
    for name, service in compose["services"].items():
        for variable, value in (service.get("environment") or {}).items():
            secret = re.search("PASSWORD|SECRET|TOKEN|DATABASE_URL", variable)
            assert not secret or "/run/secrets/" in value, f"{name}: {variable}"
        mounts = [each for each in service.get("volumes", ()) if each.get("source") == "secrets"]
        if name not in JOBS:
            assert all(mount["volume"]["subpath"] and mount["read_only"] for mount in mounts), name
    for name in BANK.services:
        (mount,) = compose["services"][name]["volumes"]
        assert mount["volume"]["subpath"] == name


def test_what_users_keeps_sealed_is_opened_by_a_key_that_outlives_it(
    compose: dict[str, Any],
) -> None:
    key = compose["services"]["users"]["environment"]["USERS_MASTER_KEY_FILE"]

    # Not one that the process makes up where nothing of it is kept.
    assert key == "/run/secrets/master.key"


def test_the_control_plane_is_two_with_a_volume_each(compose: dict[str, Any]) -> None:
    plane = compose["services"]["control-plane"]
    data, secrets = plane["volumes"]

    assert plane["deploy"]["replicas"] == 2
    assert data == {"type": "volume", "target": "/data", "volume": {}}
    assert (secrets["target"], secrets["read_only"]) == ("/run/secrets", True)


def test_a_stanza_of_a_service_is_short() -> None:
    text = (ROOT / "docker-compose.yml").read_text()
    for name in BANK.services:
        stanza = re.search(rf"^  {name}:\n((?:    .*\n)+)", text, re.MULTILINE)
        assert stanza is not None
        assert len(stanza[1].splitlines()) <= 8, name


def test_the_dockerfile_is_clean() -> None:
    output_of(tool("hadolint"), "Dockerfile")


@pytest.mark.parametrize("service", BANK.services)
def test_an_image_of_a_service_needs_no_other(service: str, tmp_path: Path) -> None:
    text = (ROOT / "Dockerfile").read_text()
    stages = dict(
        re.findall(r"^FROM \S+ AS (\S+)\n(.*?)(?=^FROM|\Z)", text, re.DOTALL | re.MULTILINE)
    )
    copied = re.findall(r"^COPY (?!--from)(.+)$", stages["mesh"] + stages["service"], re.MULTILINE)
    skipped = shutil.ignore_patterns("tests", "__pycache__")
    for line in copied:
        *sources, target = line.replace("${SERVICE}", service).split()
        for source in sources:
            goal = tmp_path / target / (Path(source).name if target.endswith("/") else "")
            goal.parent.mkdir(parents=True, exist_ok=True)
            if (ROOT / source).is_dir():
                shutil.copytree(ROOT / source, goal, ignore=skipped)
            else:
                shutil.copy(ROOT / source, goal)
    code = f"from services.{service}.app import build; import mesh.run, mesh.endpoint"
    path = os.pathsep.join([str(tmp_path), str(tmp_path / "protos/gen")])
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert done.returncode == 0, done.stderr
    assert sorted(each.name for each in (tmp_path / "services").iterdir() if each.is_dir()) == [
        service
    ]


def test_the_yaml_is_tidy() -> None:
    rules = "{extends: relaxed, rules: {line-length: disable, braces: disable, commas: disable}}"
    files = [ROOT / "docker-compose.yml", ROOT / "observability", ROOT / "deploy"]
    output_of(tool("yamllint"), "--strict", "-d", rules, *files)


def pods(manifests: list[dict[str, Any]]) -> Iterator[tuple[str, dict[str, Any]]]:
    for each in manifests:
        if each["kind"] == "Deployment":
            yield each["metadata"]["name"], each["spec"]["template"]["spec"]


def containers(manifests: list[dict[str, Any]]) -> Iterator[tuple[str, dict[str, Any]]]:
    for name, pod in pods(manifests):
        for container in (*pod["containers"], *pod.get("initContainers", ())):
            yield f"{name}/{container['name']}", container


def named(manifests: list[dict[str, Any]], kind: str) -> dict[str, dict[str, Any]]:
    return {each["metadata"]["name"]: each for each in manifests if each["kind"] == kind}


def test_every_service_is_deployed_with_all_it_needs(manifests: list[dict[str, Any]]) -> None:
    kinds = ("Deployment", "Service", "ServiceAccount", "PodDisruptionBudget")
    for kind in (*kinds, "HorizontalPodAutoscaler"):
        assert set(BANK.services) <= set(named(manifests, kind)), kind
    for name in BANK.services:
        label = {"app.kubernetes.io/name": name}
        deployment = named(manifests, "Deployment")[name]
        assert deployment["spec"]["selector"]["matchLabels"] == label
        assert named(manifests, "Service")[name]["spec"]["clusterIP"] == "None"
        assert named(manifests, "Service")[name]["spec"]["selector"] == label
        budget = named(manifests, "PodDisruptionBudget")[name]["spec"]
        assert budget["selector"]["matchLabels"] == label
        scaler = named(manifests, "HorizontalPodAutoscaler")[name]["spec"]
        assert scaler["scaleTargetRef"]["name"] == name
        assert scaler["minReplicas"] >= 2
        assert "replicas" not in deployment["spec"]


def test_a_process_is_asked_whether_it_lives_and_whether_it_is_ready(
    manifests: list[dict[str, Any]],
) -> None:
    for name, pod in pods(manifests):
        (container,) = pod["containers"]
        ports = {port["name"]: port["containerPort"] for port in container["ports"]}
        assert ports["admin"] == ADMIN_PORT
        assert container["startupProbe"]["httpGet"] == {"path": "/livez", "port": "admin"}, name
        assert container["livenessProbe"]["httpGet"] == {"path": "/livez", "port": "admin"}, name
        assert container["readinessProbe"]["httpGet"] == {"path": "/readyz", "port": "admin"}, name


def test_a_drain_ends_before_the_pod_is_killed(manifests: list[dict[str, Any]]) -> None:
    for name, pod in pods(manifests):
        if name in BANK.services:
            assert pod["terminationGracePeriodSeconds"] > Settings(service=name).drain_s + 10


def test_every_pod_is_as_restricted_as_can_be(manifests: list[dict[str, Any]]) -> None:
    for name, pod in pods(manifests):
        assert pod["securityContext"]["runAsNonRoot"], name
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, name
        assert pod["automountServiceAccountToken"] is False, name
    for name, container in containers(manifests):
        context = container["securityContext"]
        assert context["readOnlyRootFilesystem"], name
        assert context["allowPrivilegeEscalation"] is False, name
        assert context["capabilities"] == {"drop": ["ALL"]}, name
        assert {"cpu", "memory"} <= set(container["resources"]["requests"]), name
        assert "memory" in container["resources"]["limits"], name
        assert re.search(r":\d+\.\d+\.\d+$", container["image"]), name
    (namespace,) = named(manifests, "Namespace").values()
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"


def test_nothing_is_reached_but_by_a_policy(manifests: list[dict[str, Any]]) -> None:
    policies = named(manifests, "NetworkPolicy")

    assert policies["deny"]["spec"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    asked = policies["mesh"]["spec"]["ingress"]
    assert asked[0]["ports"] == [{"port": 50051}]


def test_the_control_plane_is_two_that_share_the_authority_and_the_policy(
    manifests: list[dict[str, Any]],
) -> None:
    deployment = named(manifests, "Deployment")["control-plane"]["spec"]
    pod = deployment["template"]["spec"]
    mounts = {each["name"]: each for each in pod["containers"][0]["volumeMounts"]}
    volumes = {each["name"]: each for each in pod["volumes"]}
    secrets = {each["path"] for each in volumes["secrets"]["secret"]["items"]}

    assert deployment["replicas"] == 2
    assert "control-plane" in named(manifests, "PodDisruptionBudget")
    assert named(manifests, "Service")["control-plane"]["spec"]["clusterIP"] == "None"
    assert mounts["secrets"] == {
        "name": "secrets",
        "mountPath": "/run/secrets",
        "readOnly": True,
    }
    assert {"mesh_xds_nats_url", "authority/bundle.pem", "authority/join.key"} < secrets
    assert "emptyDir" in volumes["data"]


def test_what_a_service_is_told_to_reach_it_may_reach(manifests: list[dict[str, Any]]) -> None:
    rules = named(manifests, "NetworkPolicy")["mesh"]["spec"]["egress"]
    open_ports = {port["port"] for rule in rules for port in rule["ports"]}

    for name, pod in pods(manifests):
        told = " ".join(each.get("value", "") for each in pod["containers"][0]["env"])
        asked = {int(port) for port in re.findall(r"[a-z]:(\d{4,5})\b", told)}
        assert asked <= open_ports, name


def test_only_a_service_with_a_database_migrates_one(manifests: list[dict[str, Any]]) -> None:
    for name, pod in pods(manifests):
        owns = (ROOT / "services" / name / "migrations").is_dir()
        arguments = [each["args"] for each in pod.get("initContainers", ())]
        assert arguments == ([["migrate", name]] if owns else []), name
