"""What a link would become, before anything is written: the card, its commands, and what already has the same file."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from service.library import BrokenCard, Library, Resource, parse_card
from service.links.card_writer import card_path, card_text
from service.links.found import Found

_NAMES_TRIED_MAX = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Duplicate:
    """A card of the library with the same file. ``why``: ``sha256`` or ``AIR``."""

    path: str
    title: str
    why: Literal["sha256", "AIR"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview:
    """``text``: of the card, None while a file must be chosen. ``commands``: as the library reads them from it."""

    found: Found
    path: str
    text: str | None
    commands: str
    duplicates: tuple[Duplicate, ...]


def make_preview(found: Found, library: Library, path: str | None = None) -> Preview:
    """Reads the library, so not on the event loop. ``path``: of the card, instead of one by its title."""
    at = path or _free(card_path(found), library)
    if found.file is None:
        return Preview(found=found, path=at, text=None, commands="", duplicates=())
    text = card_text(found, found.file)
    card = parse_card(at, text.encode())
    others = (other for other in library.all() if not isinstance(other, BrokenCard))
    return Preview(found=found, path=at, text=text, commands=card.script, duplicates=tuple(_duplicates(card, others)))


def _free(path: str, library: Library) -> str:
    stem = path.removesuffix(".md")
    tried = (path, *(f"{stem}_{number}.md" for number in range(2, _NAMES_TRIED_MAX)))
    return next((each for each in tried if not library.has(each)), path)


def _duplicates(card: Resource, others: Iterable[Resource]) -> Iterable[Duplicate]:
    hashes, names = _hashes(card), {name.casefold() for name in card.names}
    for other in others:
        if hashes & _hashes(other):
            yield Duplicate(path=other.path, title=other.title, why="sha256")
        elif names & {name.casefold() for name in other.names}:
            yield Duplicate(path=other.path, title=other.title, why="AIR")


def _hashes(card: Resource) -> set[str]:
    return {digest for digest in (card.front.sha256, *(file.sha256 for file in card.front.files)) if digest is not None}
