"""Writes cards into the folder of the library: whole or not at all, never outside of it, and never over a version that
the caller has not seen.

A version is the SHA-256 of the file, as ``Resource.sha256`` has it. Two changes by this service follow one another;
what a person writes into the folder meanwhile is seen up to the moment of the rename.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from service.errors import (
    CardChanged,
    CardError,
    CardExists,
    FieldError,
    InvalidRequest,
    LibraryReadOnly,
    StoreUnavailable,
    UnknownResource,
)
from service.library.card_reader import parse_card
from service.library.cards import Resource
from service.library.folder import CARD_BYTES_MAX, Library
from service.library.paths import short

_NOT_WRITABLE = (errno.EROFS, errno.EACCES, errno.EPERM)
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)


class CardEditor:
    """``read_only``: nothing may be changed, whatever the folder allows. Every method blocks on the disk."""

    def __init__(self, library: Library, *, read_only: bool = False) -> None:
        self._library = library
        self._read_only = read_only
        self._lock = threading.Lock()

    @property
    def is_writable(self) -> bool:
        return not self._read_only and os.access(self._library.path, os.W_OK | os.X_OK)

    def text(self, path: str) -> bytes:
        """The whole file, also of a broken card. Raises UnknownResource, InvalidRequest, CardError."""
        file = self._library.file(path)
        try:
            if not stat.S_ISREG(file.stat().st_mode):
                raise CardError(f'card "{path}" is not a file')
            with file.open("rb") as opened:
                raw = opened.read(CARD_BYTES_MAX + 1)
        except OSError as error:
            raise UnknownResource(self._library.unknown(path)) from error
        if len(raw) > CARD_BYTES_MAX:
            raise CardError(f'card "{path}" is larger than {CARD_BYTES_MAX} bytes')
        return raw

    def version_of(self, raw: bytes) -> str:
        """The same as of the card that is read from it."""
        return hashlib.sha256(raw).hexdigest()

    def create(self, path: str, text: str) -> Resource:
        """Raises InvalidRequest (names ``path`` or ``card``), CardExists, LibraryReadOnly, StoreUnavailable."""
        file = self._file(path)
        card, raw = self._checked(path, text)
        with self._lock, self._writing():
            self._make_folder(path, file.parent)
            try:
                with _beside(file, raw) as written:
                    _give_new_name(written, file)
            except FileExistsError as error:
                message = f'the library has a card "{short(path)}" already: choose another path, or edit that card'
                raise CardExists(message, [FieldError("path", message)]) from error
        return card

    def replace(self, path: str, text: str, seen: str) -> Resource:
        """``seen``: the version that the caller changed, ``*`` for any. Raises InvalidRequest (names ``card``),
        UnknownResource, CardChanged, LibraryReadOnly, StoreUnavailable."""
        card, raw = self._checked(path, text)
        file = self._library.file(path)
        with self._lock, self._writing():
            self._check_version(path, seen)
            with _beside(file, raw) as written:
                os.replace(written, file)
        return card

    def delete(self, path: str, seen: str) -> None:
        """Raises InvalidRequest, UnknownResource, CardChanged, LibraryReadOnly."""
        file = self._library.file(path)
        with self._lock, self._writing():
            self._check_version(path, seen)
            file.unlink(missing_ok=True)

    def _checked(self, path: str, text: str) -> tuple[Resource, bytes]:
        """The card as the library will read it."""
        raw = text.encode("utf-8", "surrogatepass")
        message = f"a card has at most {CARD_BYTES_MAX} bytes" if len(raw) > CARD_BYTES_MAX else None
        try:
            if message is None:
                return parse_card(path, raw), raw
        except CardError as error:
            message = str(error)
        raise InvalidRequest(message, [FieldError("card", message)])

    def _file(self, path: str) -> Path:
        try:
            return self._library.file(path)
        except InvalidRequest as error:
            raise InvalidRequest(error.message, [FieldError("path", error.message)]) from error

    def _check_version(self, path: str, seen: str) -> None:
        now = self.version_of(self.text(path))
        if seen not in ("*", now):
            raise CardChanged(f'somebody else changed "{short(path)}" in the meantime: load it again, then change it')

    def _make_folder(self, path: str, folder: Path) -> None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError) as error:
            message = f'"{short(path)}" cannot be a card: a part of its path is a file'
            raise InvalidRequest(message, [FieldError("path", message)]) from error

    @contextmanager
    def _writing(self) -> Iterator[None]:
        if self._read_only:
            raise LibraryReadOnly("this service does not change its cards: INSTALLER_CARDS_READ_ONLY is set")
        try:
            yield
        except OSError as error:
            if error.errno in _NOT_WRITABLE:
                raise LibraryReadOnly(
                    f"the folder of the cards, {self._library.path}, cannot be written ({error.strerror}): give it to "
                    "the user of the service, or name another in INSTALLER_RESOURCES_DIR"
                ) from error
            if error.errno in _NO_ROOM:
                raise StoreUnavailable(f"there is no room for the card ({error.strerror})") from error
            if error.errno == errno.ENAMETOOLONG:
                message = "a part of the path is too long for this file system: shorten it"
                raise InvalidRequest(message, [FieldError("path", message)]) from error
            raise


@contextmanager
def _beside(file: Path, raw: bytes) -> Iterator[str]:
    """A whole file in the same folder, on the disk, under a name that is no card's; gone afterwards."""
    descriptor, name = tempfile.mkstemp(prefix=".card-", dir=file.parent)
    try:
        with os.fdopen(descriptor, "wb") as written:
            written.write(raw)
            written.flush()
            os.fchmod(written.fileno(), 0o644)
            os.fsync(written.fileno())
        yield name
    finally:
        # A rename has taken it away.
        Path(name).unlink(missing_ok=True)


def _give_new_name(written: str, file: Path) -> None:
    """Raises FileExistsError: unlike a rename, a link replaces nothing."""
    try:
        os.link(written, file)
    except OSError as error:
        # Some file systems have no links.
        if error.errno not in (errno.EPERM, errno.EOPNOTSUPP):
            raise
        if os.path.lexists(file):
            raise FileExistsError(errno.EEXIST, "exists") from error
        os.rename(written, file)
