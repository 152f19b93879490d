"""The contracts are fresh, tidy and unbroken, and say all that the mesh must know of them."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from google.protobuf.descriptor import Descriptor, FileDescriptor, MethodDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorSet

from mesh.cli import protos
from mesh.cli.develop import locks_are_clean
from meshapi.v1 import options_pb2

ROOT = Path(__file__).parents[1]
GENERATED = ROOT / "protos/gen"

# Nobody asks through the mesh for what the mesh itself stands on.
STREAMING = {"meshapi.v1.RegistryService/Register"}


def files() -> Iterator[FileDescriptor]:
    for top in ("bank", "meshapi"):
        for path in sorted((GENERATED / top).rglob("*_pb2.py")):
            name = ".".join(path.relative_to(GENERATED).with_suffix("").parts)
            yield importlib.import_module(name).DESCRIPTOR


def methods() -> list[MethodDescriptor]:
    return [
        method
        for file in files()
        for service in file.services_by_name.values()
        for method in service.methods
    ]


def events() -> list[Descriptor]:
    """Every message of an `events.proto` that is not only a part of another."""
    found = [
        message
        for file in files()
        if file.name.startswith("bank/") and file.name.endswith("/events.proto")
        for message in file.message_types_by_name.values()
    ]
    parts = {field.message_type for event in found for field in event.fields if field.message_type}
    return [event for event in found if event not in parts]


def name_of(subject: MethodDescriptor | Descriptor) -> str:
    return subject.full_name


def test_the_generated_code_is_fresh() -> None:
    assert protos.stale(ROOT) == []


def test_the_contracts_are_tidy_and_commented() -> None:
    assert protos.lint(ROOT) == []


def test_no_change_breaks_the_baseline() -> None:
    assert protos.breaking(ROOT) == []


def test_the_baseline_knows_every_package() -> None:
    baseline = FileDescriptorSet.FromString((ROOT / protos.BASELINE).read_bytes())

    assert {file.package for file in files()} <= {file.package for file in baseline.file}


def test_a_breaking_change_is_found(tmp_path: Path) -> None:
    copy = tmp_path / "protos"
    for path in [*(ROOT / "protos").rglob("*.proto"), ROOT / protos.BASELINE]:
        target = copy / path.relative_to(ROOT / "protos")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(path.read_bytes())
    money = copy / "bank/money/v1/money.proto"
    money.write_text(money.read_text().replace("int64 minor_units = 1", "int32 minor_units = 1"))

    assert any("minor_units" in line for line in protos.breaking(tmp_path))


@pytest.mark.parametrize("method", methods(), ids=name_of)
def test_every_method_says_who_may_call_it_and_for_how_long(method: MethodDescriptor) -> None:
    policy = method.GetOptions().Extensions[options_pb2.policy]
    path = f"{method.containing_service.full_name}/{method.name}"

    assert policy.access != options_pb2.ACCESS_UNSPECIFIED
    assert policy.timeout.ToNanoseconds() > 0 or path in STREAMING
    for rate in policy.rates:
        assert rate.per_minute > 0
        assert not rate.field or rate.field in method.input_type.fields_by_name


@pytest.mark.parametrize("event", events(), ids=name_of)
def test_every_event_has_its_stream_and_a_key_of_its_own(event: Descriptor) -> None:
    options = event.GetOptions().Extensions[options_pb2.event]

    assert options.stream == event.file.package.split(".")[1].upper()
    assert options.key in event.fields_by_name


@pytest.mark.parametrize("event", events(), ids=name_of)
def test_an_event_carries_no_address_and_no_document(event: Descriptor) -> None:
    personal = {"email", "full_name", "cpf", "cnpj", "legal_name", "phone", "pix_key"}

    assert not personal & {field.name for field in event.fields}


def test_the_locks_pin_all_and_name_no_address() -> None:
    assert locks_are_clean(ROOT)
