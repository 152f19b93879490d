"""The contracts: generates Python from `protos/`, and checks that it is fresh, tidy and unbroken.

Nothing is fetched: the descriptors of `buf.validate` and the sources of `google.api` come from the
installed packages, and buf reads an image that protoc has built.
"""

from __future__ import annotations

import filecmp
import importlib.util
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from mesh.supervisor.problem import Problem

__all__ = ["accept", "breaking", "generate", "lint", "stale"]

VALIDATE = "buf/validate/validate.proto"
BASELINE = Path("protos/baseline.binpb")
GENERATED = Path("protos/gen")


def generate(root: Path) -> list[str]:
    """Makes the Python of every contract anew in `protos/gen`; lists the files that it changed."""
    with tempfile.TemporaryDirectory(prefix="protos-") as scratch:
        fresh, kept = _make(root, Path(scratch)), root / GENERATED
        changed = _differences(fresh, kept)
        for name in changed:
            (kept / name).unlink(missing_ok=True)
            if (fresh / name).exists():
                (kept / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(fresh / name, kept / name)
    return changed


def stale(root: Path) -> list[str]:
    """Lists the generated files that differ from what generating makes now; empty when fresh."""
    with tempfile.TemporaryDirectory(prefix="protos-") as scratch:
        return _differences(_make(root, Path(scratch)), root / GENERATED)


def lint(root: Path) -> list[str]:
    """Lists what buf's STANDARD rules and its rules on comments object to; empty when nothing."""
    rules = {"version": "v2", "lint": {"use": ["STANDARD", "COMMENTS"]}}
    paths = [argument for top in _packages(root) for argument in ("--path", top)]
    return _buf(root, "lint", "--config", json.dumps(rules), *paths)


def breaking(root: Path) -> list[str]:
    """Lists the changes since the baseline that break a client or a stored event."""
    rules = {"version": "v2", "breaking": {"use": ["FILE"]}}
    against = str(root / BASELINE)
    return _buf(root, "breaking", "--against", against, "--config", json.dumps(rules))


def accept(root: Path) -> None:
    """Makes the contracts of now the baseline that later ones are compared with."""
    with tempfile.TemporaryDirectory(prefix="protos-") as scratch:
        _image(root, Path(scratch), root / BASELINE)


def _make(root: Path, scratch: Path) -> Path:
    made = scratch / "gen"
    made.mkdir()
    descriptors = _validate_descriptors(scratch)
    messages = [f"--python_out={made}", f"--mypy_out=readable_stubs:{made}"]
    services = [f"--grpc_python_out={made}", f"--mypy_grpc_out={made}"]
    _protoc(root, descriptors, *messages, *services, *_sources(root))
    # Our messages import the rules they are validated by; their package ships no such module.
    _run([*_compiler(descriptors), *messages, VALIDATE], root)
    return made


def _differences(made: Path, kept: Path) -> list[str]:
    fresh, old = _files(made), _files(kept)
    same, _, _ = filecmp.cmpfiles(made, kept, fresh & old, shallow=False)
    return sorted((fresh | old) - set(same))


def _buf(root: Path, command: str, *arguments: str) -> list[str]:
    with tempfile.TemporaryDirectory(prefix="protos-") as scratch:
        image = Path(scratch) / "image.binpb"
        _image(root, Path(scratch), image, "--include_source_info")
        argv = [_tool("buf"), command, str(image), *arguments]
        done = subprocess.run(argv, cwd=scratch, capture_output=True, text=True, check=False)
    said = [*done.stdout.splitlines(), *done.stderr.splitlines()]
    return said or ([f"buf {command} ended with {done.returncode}"] if done.returncode else [])


def _image(root: Path, scratch: Path, image: Path, *options: str) -> None:
    descriptors = _validate_descriptors(scratch)
    _protoc(root, descriptors, "--include_imports", *options, f"-o{image}", *_sources(root))


def _validate_descriptors(scratch: Path) -> Path:
    """Writes what `buf/validate/validate.proto` says, as its installed package knows it."""
    from google.protobuf import descriptor_pb2, duration_pb2, field_mask_pb2, timestamp_pb2
    from protovalidate._gen.buf.validate.validate_pb import desc

    found = descriptor_pb2.FileDescriptorSet()
    for module in (descriptor_pb2, duration_pb2, timestamp_pb2, field_mask_pb2):
        module.DESCRIPTOR.CopyToProto(found.file.add())
    found.file.add().ParseFromString(desc().proto.to_binary())
    path = scratch / "validate.binpb"
    path.write_bytes(found.SerializeToString())
    return path


def _protoc(root: Path, descriptors: Path, *arguments: str) -> None:
    google = importlib.util.find_spec("google.api")
    if google is None or google.submodule_search_locations is None:
        raise _missing("google.api")
    site = Path(next(iter(google.submodule_search_locations))).parent.parent
    _run([*_compiler(descriptors), f"-I{root / 'protos'}", f"-I{site}", *arguments], root)


def _compiler(descriptors: Path) -> list[str]:
    if importlib.util.find_spec("grpc_tools") is None:
        raise _missing("grpc_tools")
    plugins = [
        f"--plugin={name}={_tool(name)}" for name in ("protoc-gen-mypy", "protoc-gen-mypy_grpc")
    ]
    compiler = [sys.executable, "-m", "grpc_tools.protoc"]
    return [*compiler, f"--descriptor_set_in={descriptors}", *plugins]


def _run(argv: list[str], root: Path) -> None:
    done = subprocess.run(argv, cwd=root, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        said = (done.stderr or done.stdout).strip().replace("\n", "\n       ")
        raise Problem("the contracts do not compile", said, "correct the .proto file named above")


def _tool(name: str) -> str:
    beside = Path(sys.executable).with_name(name)
    found = str(beside) if beside.exists() else shutil.which(name)
    if found is None:
        raise _missing(name)
    return found


def _missing(name: str) -> Problem:
    return Problem(f"{name} is not installed", "it comes with requirements-dev.lock", "./bank lint")


def _packages(root: Path) -> list[str]:
    tops = (path for path in (root / "protos").iterdir() if path.is_dir() and path.name != "gen")
    return sorted(path.name for path in tops)


def _sources(root: Path) -> list[str]:
    protos = root / "protos"
    found = (path for top in _packages(root) for path in (protos / top).rglob("*.proto"))
    return sorted(str(path.relative_to(protos)) for path in found)


def _files(top: Path) -> set[str]:
    return {
        str(path.relative_to(top))
        for path in top.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
