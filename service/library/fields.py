"""Makes the model of the front matter from its plain values.

What only describes a card never breaks it: a value that cannot be read is left out, with a warning. What a card
promises (``sha256``, ``files``) or needs (``dependencies``) must be right, or the card is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from pydantic import ValidationError

from service.errors import CardError
from service.library import field_values as read
from service.library.cards import FrontMatter

_READERS: dict[str, Callable[[Any], Any]] = {
    "title": read.title,
    "type": read.text,
    "ecosystem": read.text,
    "basemodel": read.text,
    "version": read.version,
    "tags": read.texts,
    "size": read.size,
    "sha256": read.sha256,
    "files": read.files,
    "url": read.first,
    "license": read.text,
    "image": read.first,
    "dependencies": read.texts,
    "aliases": read.texts,
    "AIR": read.text,
    "installs": read.nothing,
    "background": read.switch,
}
_EXACT = frozenset({"sha256", "files", "dependencies"})
_KEYS = {key.lower(): key for key in _READERS}


def make_front(path: str, data: Mapping[str, Any], *, title: str) -> tuple[FrontMatter, tuple[str, ...]]:
    """The model, and warnings about what was left out. ``title``: for a card that gives none. Raises CardError."""
    given: dict[str, Any] = {"title": title}
    warnings: list[str] = []
    for written, value in data.items():
        key = _known(written, data)
        if key is None:
            given[written] = value
        elif value is not None:
            # A known key without a value counts as a key that is not there.
            try:
                given[key] = _READERS[key](value)
            except read.Unreadable as error:
                if key in _EXACT:
                    raise CardError(f'card "{path}": {key}: {error}') from error
                warnings.append(f"{key}: {error}; it is left out")
    return _validated(path, given), tuple(warnings)


def _known(written: str, data: Mapping[str, Any]) -> str | None:
    """The known key that is meant: "Title" means title, unless that is there too."""
    key = _KEYS.get(written.lower())
    return None if key is None or (key != written and key in data) else key


def _validated(path: str, given: Mapping[str, Any]) -> FrontMatter:
    try:
        return FrontMatter.model_validate(given)
    except ValidationError as error:
        found = error.errors()[0]
        where = ".".join(str(part) for part in found["loc"])
        message = found["msg"].removeprefix("Value error, ")
        raise CardError(f'card "{path}": {where}: {message[:1].lower()}{message[1:]}') from error
