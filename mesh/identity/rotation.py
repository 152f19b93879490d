"""Changing the root of the mesh without a failed call, in three steps.

1. `prepare_root`: a new root is made, and trusted beside the old one.
2. `switch_root`: the new root signs a new intermediate, which issues from then on.
3. `retire_roots`: the old root is trusted no more.

Restart the control plane after each step; that harms nobody. Between the steps wait for one life of
a certificate: each process learns whom to trust when it renews its own. Switching at once would cut
off everyone who has not heard of the new root yet.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from mesh.errors import FailedPrecondition
from mesh.identity.authority import new_intermediate, new_root
from mesh.identity.directory import BUNDLE, CERTIFICATE, KEY, replace_all, write_private
from mesh.identity.join import authority_directory

__all__ = ["prepare_root", "retire_roots", "switch_root"]

_NEXT = "next-root"


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
