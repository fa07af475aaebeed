"""The library of resource cards: Markdown files with YAML front matter, read from one folder.

A card is read when somebody asks for it and kept by its time and size, so that an edit counts at once. A broken card is
reported by name and reason and harms no other. A README is about the folder and is not a card.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Sequence
from pathlib import Path

from service.errors import CardError, InvalidRequest, UnknownResource, is_shortage
from service.library.card_reader import parse_card
from service.library.cards import BrokenCard, Resource
from service.library.paths import is_hidden, is_readme, short, wrong_path
from service.library.resolution import ResolvedCard, resolve

CARD_BYTES_MAX = 256 * 1024
CARDS_MAX = 10_000


class Library:
    """The cards below one folder, by their path in it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._read: dict[str, tuple[tuple[int, int, int], Resource | BrokenCard]] = {}

    @property
    def path(self) -> Path:
        return self._folder

    def get(self, path: str) -> Resource:
        """Raises UnknownResource, InvalidRequest (no path of a card), CardError (a broken one)."""
        file = self.file(path)
        try:
            status = file.stat()
        except OSError as error:
            raise UnknownResource(self.unknown(path)) from error
        if not stat.S_ISREG(status.st_mode):
            raise CardError(f'card "{path}" is not a file')
        mark = (status.st_mtime_ns, status.st_size, status.st_ino)
        known = self._read.get(path)
        if known is None or known[0] != mark:
            known = (mark, _read(path, file, status.st_size))
            self._read[path] = known
        if isinstance(known[1], BrokenCard):
            raise CardError(known[1].error)
        return known[1]

    def all(self) -> list[Resource | BrokenCard]:
        """Every card, sorted by path."""
        files = (file.relative_to(self._folder).as_posix() for file in self._folder.rglob("*.md"))
        paths = sorted(path for path in files if not is_hidden(path) and not is_readme(path))
        return [self._one(path) for path in paths[:CARDS_MAX]]

    def digest(self) -> str:
        """The same for two folders with the same cards."""
        known = sorted((card.path, "" if isinstance(card, BrokenCard) else card.sha256) for card in self.all())
        return hashlib.sha256(repr(known).encode()).hexdigest()

    def resolve(self, names: Sequence[str]) -> list[ResolvedCard]:
        """The cards with these paths, aliases or AIR names and what they depend on, once each, dependencies first.
        Raises InvalidRequest (doubled, ambiguous, broken, cyclic, too many), UnknownResource."""
        return resolve(self, names)

    def _one(self, path: str) -> Resource | BrokenCard:
        try:
            return self.get(path)
        except (CardError, InvalidRequest, UnknownResource) as error:
            return BrokenCard(path=path, error=str(error))

    def has(self, path: str) -> bool:
        """Whether a file has this path, be it a sound card or not."""
        return wrong_path(path) is None and os.path.lexists(self._folder / path)

    def file(self, path: str) -> Path:
        """Where a card with this path lies, or would. Raises InvalidRequest."""
        reason = wrong_path(path)
        if reason is not None:
            raise InvalidRequest(f'"{short(path)}" is not the path of a card: {reason}')
        file = self._folder / path
        folder = self._folder.resolve()
        # realpath, because resolve() raises when links go in a circle.
        if not Path(os.path.realpath(file)).is_relative_to(folder):
            raise InvalidRequest(f'"{short(path)}" is not the path of a card: it leads out of the resource folder')
        return file

    def unknown(self, path: str) -> str:
        return f'unknown resource "{short(path)}": no such card under {self._folder.name}/'


def _read(path: str, file: Path, size_bytes: int) -> Resource | BrokenCard:
    if size_bytes > CARD_BYTES_MAX:
        return BrokenCard(path=path, error=f'card "{path}" is larger than {CARD_BYTES_MAX} bytes')
    try:
        return parse_card(path, file.read_bytes())
    except CardError as error:
        return BrokenCard(path=path, error=str(error))
    except OSError as error:
        if is_shortage(error):
            raise
        raise CardError(f'card "{path}" cannot be read: {error.strerror}') from error
