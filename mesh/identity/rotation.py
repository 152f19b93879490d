"""Changing the root of the mesh without a failed call, in three steps.

1. `prepare_root`: a new root is made, and trusted beside the old one.
2. `switch_root`: the new root signs a new intermediate, which issues from then on.
3. `retire_roots`: the old root is trusted no more.

The control plane reads each step from the disk. Between the steps one life of a certificate must
pass: each process learns whom to trust when it renews its own, and switching at once would cut off
everyone who has not heard of the new root yet. `behind` tells who is still to be waited for.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from cryptography import x509

from mesh.errors import FailedPrecondition
from mesh.identity.authority import new_intermediate, new_root
from mesh.identity.directory import BUNDLE, CERTIFICATE, KEY, replace_all, write_private
from mesh.identity.issued import Entry, fingerprint, fingerprint_of_issuer, good_entries
from mesh.identity.join import authority_directory

__all__ = ["behind", "prepare_root", "retire_roots", "switch_root"]

_NEXT = "next-root"


def behind(data_dir: Path) -> list[Entry]:
    """Lists the good certificates that the next step would cut off: those whose owners may not have
    heard of the roots that are trusted now, or that were not issued by the authority of now.
    """
    directory = authority_directory(data_dir)
    trusted = fingerprint((directory / BUNDLE).read_bytes())
    issuer = x509.load_pem_x509_certificate((directory / "intermediate" / CERTIFICATE).read_bytes())
    issues = fingerprint_of_issuer(issuer)
    entries = good_entries(directory)
    return [each for each in entries if each.bundle != trusted or each.issuer != issues]


def prepare_root(data_dir: Path) -> None:
    """Makes the next root, and trusts it. Again, it goes on where a crash stopped it.

    Raises `FailedPrecondition` when the last change of the root has not ended.
    """
    directory = authority_directory(data_dir)
    root = (directory / "root" / CERTIFICATE).read_bytes()
    following = directory / _NEXT
    if not following.exists():
        if (directory / BUNDLE).read_bytes() != root:
            raise FailedPrecondition("ROOT_IS_CHANGING", "The old root is still trusted.")
        new_root(following)
    write_private(directory / BUNDLE, root + (following / CERTIFICATE).read_bytes())


def switch_root(data_dir: Path) -> None:
    """Issues by the next root from now on. Again, it goes on where a crash stopped it.

    Raises `FailedPrecondition` when no root was prepared.
    """
    directory = authority_directory(data_dir)
    following = directory / _NEXT
    if not following.exists():
        raise FailedPrecondition("ROOT_NOT_PREPARED", "There is no next root to switch to.")
    new_intermediate(directory / "intermediate", following)
    pair = {name: (following / name).read_bytes() for name in (CERTIFICATE, KEY)}
    replace_all(directory / "root", pair)
    # Gone at once: half a root would not be switched to again.
    done = directory / f".{_NEXT}.done"
    shutil.rmtree(done, ignore_errors=True)
    following.rename(done)
    shutil.rmtree(done)


def retire_roots(data_dir: Path) -> None:
    """Trusts the root that issues now, and no other.

    Raises `FailedPrecondition` when a next root is prepared but not switched to.
    """
    directory = authority_directory(data_dir)
    if (directory / _NEXT).exists():
        raise FailedPrecondition("ROOT_IS_CHANGING", "The prepared root is not in use yet.")
    write_private(directory / BUNDLE, (directory / "root" / CERTIFICATE).read_bytes())
