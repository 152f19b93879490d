"""What is personal, kept under a key of the person's own: with the key, all of it is destroyed.

A person's key lies beside their row, sealed with a key that is derived from the master key, which
is in no database. Addresses are found again by a keyed digest, so that a copy of the database tells
nobody who is in it. AES-256-GCM (NIST SP 800-38D) binds each value to its row and column.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import secrets
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from pydantic import Field as Setting
from pydantic_settings import BaseSettings, SettingsConfigDict

from mesh.settings import Settings

from .domain import PSEUDONYM, User

_NONCE_BYTES = 12
_LEAST_SECRET = 32

# Where compose and Kubernetes put it.
_SECRET = Path("/run/secrets/master.key")


class VaultSettings(BaseSettings):
    """Where the master key is: `USERS_MASTER_KEY_FILE`, at least 32 bytes that nobody guesses.

    Without the setting it is the secret `master.key`, or a file beside the database; the latter is
    made when it is missing, outside production.
    """

    model_config = SettingsConfigDict(env_prefix="USERS_", frozen=True)

    master_key_file: Path | None = Setting(default=None)

    def master_key(self, settings: Settings) -> bytes:
        """Reads the key. Raises `ValueError` when it is short, `OSError` when it is missing."""
        beside = settings.data_dir / settings.service / _SECRET.name
        file = self.master_key_file or (_SECRET if _SECRET.exists() else beside)
        if not settings.is_production:
            _make(file)
        key = file.read_bytes().strip()
        if len(key) < _LEAST_SECRET:
            raise ValueError(f"The master key in {file} is shorter than {_LEAST_SECRET} bytes.")
        return key


class Vault:
    """Seals and opens. Whoever has not the master key learns nothing from what is sealed."""

    def __init__(self, master_key: bytes) -> None:
        self._sealing = AESGCM(_derived(master_key, b"sealing"))
        self._index = _derived(master_key, b"index")

    def index(self, text: str) -> str:
        """Gives what a text is found by: the same for the same text, and nothing else."""
        return hmac.new(self._index, text.encode(), hashlib.sha256).hexdigest()

    def seal(self, text: str, where: str) -> str:
        """Seals what belongs to no person, or has no key of its own yet."""
        return _seal(self._sealing, text.encode(), where)

    def open(self, sealed: str, where: str) -> str:
        """Opens what `seal` gave, in the same place."""
        return _open(self._sealing, sealed, where).decode()

    def sealed(self, user: User) -> User:
        """Gives a new user as they are kept: under a new key, found by the address's index."""
        key = AESGCM.generate_key(256)
        own = AESGCM(key)
        return replace(
            user,
            email=_seal(own, user.email.encode(), f"{user.id} email"),
            full_name=_seal(own, user.full_name.encode(), f"{user.id} full_name"),
            cpf=_seal(own, user.cpf.encode(), f"{user.id} cpf"),
            sealed_key=_seal(self._sealing, key, f"{user.id} key"),
        )

    def opened(self, user: User) -> User:
        """Gives a user as they are: of one who was erased, a pseudonym."""
        if not user.sealed_key:
            return replace(user, email="", full_name=PSEUDONYM, cpf="", totp_secret="")
        own = self._own(user)
        secret = user.totp_secret
        return replace(
            user,
            email=_open(own, user.email, f"{user.id} email").decode(),
            full_name=_open(own, user.full_name, f"{user.id} full_name").decode(),
            cpf=_open(own, user.cpf, f"{user.id} cpf").decode(),
            totp_secret=_open(own, secret, f"{user.id} totp").decode() if secret else "",
        )

    def totp_secret(self, user: User, secret: str) -> str:
        """Seals the secret of a user's authenticator app."""
        return _seal(self._own(user), secret.encode(), f"{user.id} totp")

    def _own(self, user: User) -> AESGCM:
        return AESGCM(_open(self._sealing, user.sealed_key, f"{user.id} key"))


def _derived(master_key: bytes, purpose: bytes) -> bytes:
    return HKDF(SHA256(), 32, salt=None, info=b"bank users " + purpose).derive(master_key)


def _seal(key: AESGCM, plain: bytes, where: str) -> str:
    nonce = os.urandom(_NONCE_BYTES)
    return base64.b64encode(nonce + key.encrypt(nonce, plain, where.encode())).decode()


def _open(key: AESGCM, sealed: str, where: str) -> bytes:
    raw = base64.b64decode(sealed)
    return key.decrypt(raw[:_NONCE_BYTES], raw[_NONCE_BYTES:], where.encode())


def _make(file: Path) -> None:
    """Makes a key, unless there is one; of several who try at once, one does."""
    if file.exists():
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    own = file.with_name(f"{file.name}.{secrets.token_hex(8)}")
    with os.fdopen(os.open(own, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as made:
        made.write(secrets.token_urlsafe(48))
    with suppress(FileExistsError):
        os.link(own, file)
    own.unlink()
