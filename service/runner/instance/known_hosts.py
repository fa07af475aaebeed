"""The file of known host keys, in OpenSSH's format: which keys a host and port may show.

A key is known for one host and port only: several instances often share one address. A line that cannot be read is
ignored and kept.
"""

from __future__ import annotations

import base64
import binascii
import fcntl
import hashlib
import hmac
import os
import threading
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Protocol

from service.errors import LinkDown
from service.events.addresses import plain_fingerprint

PORT_DEFAULT = 22


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownKey:
    """A public key as the file holds it. ``revoked``: it must never be accepted."""

    algorithm: str
    blob: bytes
    revoked: bool = False

    @property
    def fingerprint(self) -> str:
        return fingerprint(self.blob)


class SharedKeys(Protocol):
    """The host keys that several replicas share, beside what a person wrote into the file of each."""

    async def keys(self, host: str, port: int) -> list[tuple[str, bytes]]:
        """The algorithm and the key of each that is known. Raises StoreError."""

    async def remember(
        self, host: str, port: int, algorithm: str, blob: bytes, *, instead_of: Collection[bytes]
    ) -> bool:
        """Make this the host's only key in the place of these; False, and nothing is changed, if another replica has
        remembered another one meanwhile. Raises StoreError."""


class KnownHosts:
    """One writer at a time; the file is replaced whole and readable by its owner alone.

    For threads: reading and writing wait for the disk. Nobody waits for another process: while one holds the lock, the
    file cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._writing = threading.Lock()

    def keys(self, host: str, port: int) -> list[KnownKey]:
        """Raises LinkDown when the file cannot be read: somebody may repair it while the install runs."""
        name = _name(host, port)
        try:
            lines = self._lines()
        except OSError as error:
            raise self._unusable("read", error) from error
        return [key for names, key in map(_parsed, lines) if key is not None and _matches(names, name)]

    def remember(self, host: str, port: int, algorithm: str, blob: bytes) -> None:
        """Make this the host's only key. Raises LinkDown when the file cannot be written."""
        name = _name(host, port)
        line = f"{name} {algorithm} {base64.b64encode(blob).decode()}"
        try:
            with self._writing, self._locked():
                kept = [before for before in (_without(text, name) for text in self._lines()) if before is not None]
                self._replace([*kept, line])
        except BlockingIOError as error:
            raise LinkDown(f"another process holds {self._path}.lock, so the host key cannot be kept yet") from error
        except OSError as error:
            raise self._unusable("write", error) from error

    @contextmanager
    def _locked(self) -> Iterator[None]:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with open(self._path.with_name(self._path.name + ".lock"), "a", encoding="utf-8") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield

    def _lines(self) -> list[str]:
        if not self._path.exists():
            return []
        return self._path.read_text(encoding="utf-8", errors="surrogateescape").splitlines()

    def _replace(self, lines: list[str]) -> None:
        fresh = self._path.with_name(self._path.name + ".new")
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with open(descriptor, "w", encoding="utf-8", errors="surrogateescape") as file:
            file.writelines(f"{line}\n" for line in lines)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(self._path)

    def _unusable(self, verb: str, error: OSError) -> LinkDown:
        return LinkDown(
            f"cannot {verb} the file of known hosts {self._path} ({error.strerror}): "
            "check its permissions, or name another file in INSTALLER_KNOWN_HOSTS"
        )


def fingerprint(blob: bytes) -> str:
    """The SHA-256 fingerprint of a public key, as OpenSSH prints it."""
    return plain_fingerprint(base64.b64encode(hashlib.sha256(blob).digest()).decode())


def _name(host: str, port: int) -> str:
    host = host.lower()
    return host if port == PORT_DEFAULT else f"[{host}]:{port}"


def _parsed(line: str) -> tuple[str, KnownKey | None]:
    """The names in a line, and its key: None for a comment, a certificate authority or a broken line."""
    fields = line.split()
    marker = fields.pop(0) if line.lstrip().startswith("@") else ""
    if line.lstrip().startswith("#") or marker not in ("", "@revoked") or len(fields) < 3:
        return "", None
    names, algorithm, encoded = fields[:3]
    try:
        blob = base64.b64decode(encoded, validate=True)
    except binascii.Error:
        return "", None
    return names, KnownKey(algorithm=algorithm, blob=blob, revoked=bool(marker))


def _matches(names: str, name: str) -> bool:
    """As OpenSSH does: names and patterns by commas, ``!`` excludes, ``|1|`` is a hashed name."""
    if names.startswith("|1|"):
        return _matches_hash(names, name)
    patterns = names.lower().split(",")
    if any(pattern.startswith("!") and _fits(pattern[1:], name) for pattern in patterns):
        return False
    return any(_fits(pattern, name) for pattern in patterns)


def _fits(pattern: str, name: str) -> bool:
    # Brackets are part of a name here, never a set of characters.
    return fnmatchcase(name, pattern.replace("[", "[[]"))


def _matches_hash(hashed: str, name: str) -> bool:
    try:
        salt, digest = (base64.b64decode(part, validate=True) for part in hashed.split("|")[2:4])
    except (binascii.Error, ValueError):
        return False
    return hmac.compare_digest(hmac.new(salt, name.encode(), "sha1").digest(), digest)


def _without(line: str, name: str) -> str | None:
    """The line without this name; None when it held no other. Patterns and revoked keys stay: a person wrote them."""
    names, key = _parsed(line)
    if key is None or key.revoked:
        return line
    if names.startswith("|1|"):
        return None if _matches_hash(names, name) else line
    others = [other for other in names.split(",") if other.lower() != name]
    if not others:
        return None
    return line.replace(names, ",".join(others), 1)
