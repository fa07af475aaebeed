"""The library of resource cards: Markdown files with YAML front matter, read from one folder.

A card is read when somebody asks for it and kept by its time and size, so that an edit counts at once. A broken card is
reported by name and reason and harms no other.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from service.errors import CardError, FieldError, InvalidRequest, UnknownResource
from service.library.card_reader import parse_card
from service.library.cards import BrokenCard, Resource

CARD_BYTES_MAX = 256 * 1024
PATH_CHARACTERS_MAX = 255
RESOURCES_MAX = 100
CARDS_MAX = 10_000


class Library:
    """The cards below one folder, by their path in it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._read: dict[str, tuple[tuple[int, int, int], Resource]] = {}

    def get(self, path: str) -> Resource:
        """Raises UnknownResource, InvalidRequest (no path of a card), CardError (a broken one)."""
        file = self._file(path)
        try:
            status = file.stat()
        except OSError as error:
            raise UnknownResource(self._unknown(path)) from error
        if not stat.S_ISREG(status.st_mode):
            raise CardError(f'card "{path}" is not a file')
        mark = (status.st_mtime_ns, status.st_size, status.st_ino)
        known = self._read.get(path)
        if known is not None and known[0] == mark:
            return known[1]
        if status.st_size > CARD_BYTES_MAX:
            raise CardError(f'card "{path}" is larger than {CARD_BYTES_MAX} bytes')
        try:
            raw = file.read_bytes()
        except OSError as error:
            raise CardError(f'card "{path}" cannot be read: {error.strerror}') from error
        resource = parse_card(path, raw)
        self._read[path] = (mark, resource)
        return resource

    def all(self) -> list[Resource | BrokenCard]:
        """Every card, sorted by path."""
        paths = sorted(str(file.relative_to(self._folder).as_posix()) for file in self._folder.rglob("*.md"))
        return [self._one(path) for path in paths[:CARDS_MAX] if not _is_hidden(path)]

    def resolve(self, paths: Sequence[str]) -> list[Resource]:
        """These cards and what they depend on, once each, dependencies before their dependents.

        Raises InvalidRequest (doubled, broken, cyclic, too many), UnknownResource.
        """
        for index, path in enumerate(paths):
            if path in paths[:index]:
                raise _invalid(f"resources[{index}]", f'"{_short(path)}" is named twice: name it once')
        resolved: dict[str, Resource] = {}
        for index, path in enumerate(paths):
            self._add(path, (), resolved, f"resources[{index}]")
        return list(resolved.values())

    def _add(self, path: str, chain: tuple[str, ...], resolved: dict[str, Resource], field: str) -> None:
        if path in resolved:
            return
        if path in chain:
            cycle = " -> ".join([*chain[chain.index(path) :], path])
            raise _invalid(field, f"the dependencies go in a circle: {cycle}")
        if len(chain) > RESOURCES_MAX:
            raise _invalid(field, f"more than {RESOURCES_MAX} dependencies follow from it")
        try:
            resource = self.get(path)
        except CardError as error:
            raise _invalid(field, str(error)) from error
        except UnknownResource as error:
            if not chain:
                raise UnknownResource(error.message, [FieldError(field, error.message)]) from error
            raise _invalid(field, f'"{chain[-1]}" depends on "{_short(path)}": no such card') from error
        except InvalidRequest as error:
            raise _invalid(field, error.message) from error
        for dependency in resource.dependencies:
            self._add(dependency, (*chain, path), resolved, field)
        resolved[path] = resource
        if len(resolved) > RESOURCES_MAX:
            raise _invalid("resources", f"more than {RESOURCES_MAX} resources with their dependencies: split the job")

    def _one(self, path: str) -> Resource | BrokenCard:
        try:
            return self.get(path)
        except (CardError, InvalidRequest, UnknownResource) as error:
            return BrokenCard(path=path, error=str(error))

    def _file(self, path: str) -> Path:
        reason = _wrong_path(path)
        if reason is not None:
            raise InvalidRequest(f'"{_short(path)}" is not the path of a card: {reason}')
        file = self._folder / path
        folder = self._folder.resolve()
        # realpath, because resolve() raises when links go in a circle.
        if not Path(os.path.realpath(file)).is_relative_to(folder):
            raise InvalidRequest(f'"{_short(path)}" is not the path of a card: it leads out of the resource folder')
        return file

    def _unknown(self, path: str) -> str:
        return f'unknown resource "{_short(path)}": no such card under {self._folder.name}/'


def _wrong_path(path: str) -> str | None:
    if not path or len(path) > PATH_CHARACTERS_MAX:
        return f"it must have 1 to {PATH_CHARACTERS_MAX} characters"
    if any(ord(character) < 32 or ord(character) == 127 or "\ud800" <= character <= "\udfff" for character in path):
        return "it holds characters that no path of a card may hold"
    if path.startswith("/") or "\\" in path:
        return "it must be relative to the resource folder, with / between its parts"
    if any(part in ("", ".", "..") for part in path.split("/")):
        return "it must not hold empty parts, . or .."
    if _is_hidden(path):
        return "a hidden file is not a card"
    if not path.endswith(".md"):
        return "a card is a .md file"
    return None


def _is_hidden(path: str) -> bool:
    return any(part.startswith(".") for part in PurePosixPath(path).parts)


def _invalid(field: str, message: str) -> InvalidRequest:
    return InvalidRequest(message, [FieldError(field, message)])


def _short(path: str) -> str:
    printable = path.encode("utf-8", "backslashreplace").decode("utf-8")
    return printable if len(printable) <= 120 else printable[:117] + "..."
