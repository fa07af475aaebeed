"""Encrypts the keys, so that a copy of the database shows none of them: AES-256-GCM with one key, which lies in a file
beside the database or wherever all replicas read it.

What belongs to one name is of no use under another: the name is part of what is authenticated.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import os
import secrets
import stat
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from service.errors import KeyFileUnusable

KEY_BYTES = 32
_NONCE_BYTES = 12
_FILE_BYTES_MAX = 1_000


class Sealing:
    """For threads: it reads the key file each time, so that one that was put there or replaced counts at once."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def seal(self, name: str, value: str) -> str:
        """The value, encrypted, as ASCII. Makes the key file if there is none. Raises KeyFileUnusable."""
        if not self._path.exists():
            self._make()
        nonce = secrets.token_bytes(_NONCE_BYTES)
        sealed = AESGCM(self._key()).encrypt(nonce, value.encode(), name.encode())
        return base64.b64encode(nonce + sealed).decode()

    def open(self, name: str, sealed: str) -> str:
        """Raises KeyFileUnusable."""
        key = self._key()
        try:
            raw = base64.b64decode(sealed, validate=True)
            return AESGCM(key).decrypt(raw[:_NONCE_BYTES], raw[_NONCE_BYTES:], name.encode()).decode()
        except (InvalidTag, ValueError) as error:
            raise KeyFileUnusable(
                f"the stored key cannot be read with the key file {self._path}: bring the file back with which it was "
                "stored, or set the key anew"
            ) from error

    def _key(self) -> bytes:
        try:
            with open(self._path, "rb") as file:
                mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
                text = file.read(_FILE_BYTES_MAX)
        except FileNotFoundError as error:
            raise KeyFileUnusable(
                f"the key file {self._path} is missing: bring it back, or name it in INSTALLER_KEY_FILE; without it "
                "the stored keys cannot be read"
            ) from error
        except OSError as error:
            raise self._unusable("read", error) from error
        if mode & 0o077:
            raise KeyFileUnusable(
                f"the key file {self._path} can be read by others (its mode is {mode:04o}): chmod 600 it"
            )
        with contextlib.suppress(binascii.Error):
            key = base64.b64decode(text.strip(), validate=True)
            if len(key) == KEY_BYTES:
                return key
        raise KeyFileUnusable(
            f"the key file {self._path} is damaged: it must hold {KEY_BYTES} bytes in base64; bring it back from a copy"
        )

    def _make(self) -> None:
        """Whole or not at all, and only one if two services make it at the same time."""
        fresh = self._path.with_name(f".{self._path.name}.{secrets.token_hex(8)}")
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            try:
                with open(descriptor, "wb") as file:
                    file.write(base64.b64encode(secrets.token_bytes(KEY_BYTES)) + b"\n")
                    file.flush()
                    os.fsync(file.fileno())
                with contextlib.suppress(FileExistsError):
                    os.link(fresh, self._path)
            finally:
                fresh.unlink()
        except OSError as error:
            raise self._unusable("make", error) from error

    def _unusable(self, verb: str, error: OSError) -> KeyFileUnusable:
        return KeyFileUnusable(
            f"cannot {verb} the key file {self._path} ({error.strerror}): check its folder and permissions, or name "
            "another file in INSTALLER_KEY_FILE"
        )
