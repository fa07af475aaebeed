"""Cards that travel as one file: what it holds, what it would change in a library, and the change itself.

A card is shell that runs on instances with the user's keys. So an import has two steps: the first shows what the cards
would run and changes nothing; the second names what was shown, by its digest, and is refused if that is not what would
be saved. A card that is there already is replaced only where the caller names the version that it saw.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from service.errors import CardError, InstallerError, InvalidRequest, UnknownResource
from service.library.card_reader import parse_card
from service.library.cards import Resource
from service.library.editor import CardEditor
from service.library.folder import CARD_BYTES_MAX, Library

FORMAT: Literal["resource-installer-cards-1"] = "resource-installer-cards-1"
# Below what the body of a request may have.
BUNDLE_BYTES_MAX = 900_000

State = Literal["new", "same", "other", "broken"]


@dataclass(frozen=True, slots=True, kw_only=True)
class BundledCard:
    path: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Incoming:
    """A card of a bundle beside the library. ``state``: ``other`` where the library has another card at this path, of
    the version ``there``. ``error``: why it can be no card."""

    path: str
    text: str
    state: State
    card: Resource | None = None
    there: str | None = None
    error: str | None = None


def collect(library: Library, editor: CardEditor, names: Sequence[str]) -> list[BundledCard]:
    """These cards and all that they need, dependencies first. Raises InvalidRequest, UnknownResource, CardError."""
    found = []
    for resolved in library.resolve(names):
        raw = editor.text(resolved.path)
        try:
            found.append(BundledCard(path=resolved.path, text=raw.decode("utf-8")))
        except UnicodeDecodeError as error:
            raise CardError(f'card "{resolved.path}" is not UTF-8: save it as UTF-8, then export it') from error
    if sum(len(card.text.encode()) for card in found) > BUNDLE_BYTES_MAX:
        raise InvalidRequest(f"these cards have more than {BUNDLE_BYTES_MAX} bytes together: export fewer at a time")
    return found


def compare(library: Library, editor: CardEditor, cards: Sequence[BundledCard], taken: Sequence[str]) -> list[Incoming]:
    """What each of them would be in the library. ``taken``: folders that no card may be in."""
    return [_compared(library, editor, card, taken) for card in cards]


def digest_of(cards: Sequence[BundledCard]) -> str:
    """Equal for bundles whose cards are the same at the same paths."""
    whole = hashlib.sha256()
    for card in cards:
        for part in (card.path, card.text):
            raw = part.encode("utf-8", "surrogatepass")
            whole.update(len(raw).to_bytes(8, "big") + raw)
    return whole.hexdigest()


def save(editor: CardEditor, incoming: Sequence[Incoming], replace: Mapping[str, str]) -> dict[str, Resource]:
    """Write what is new, and what ``replace`` names with the version that it replaces. Each card is written whole or
    not at all. Raises CardExists, CardChanged, LibraryReadOnly, StoreUnavailable: what was written before stays."""
    saved = {}
    for card in incoming:
        if card.state == "new":
            saved[card.path] = editor.create(card.path, card.text)
        elif card.state == "other" and card.path in replace:
            saved[card.path] = editor.replace(card.path, card.text, replace[card.path])
    return saved


def _compared(library: Library, editor: CardEditor, given: BundledCard, taken: Sequence[str]) -> Incoming:
    raw = given.text.encode("utf-8", "surrogatepass")
    try:
        library.file(given.path)
        if given.path.partition("/")[0] in taken:
            raise CardError(f"{given.path.partition('/')[0]}/ belongs to the API")
        if len(raw) > CARD_BYTES_MAX:
            raise CardError(f"a card has at most {CARD_BYTES_MAX} bytes")
        card = parse_card(given.path, raw)
    except InstallerError as error:
        return Incoming(path=given.path, text=given.text, state="broken", error=str(error))
    try:
        there = editor.version_of(editor.text(given.path))
    except UnknownResource:
        return Incoming(path=given.path, text=given.text, state="new", card=card)
    except CardError as error:
        return Incoming(path=given.path, text=given.text, state="broken", error=str(error))
    is_same = there == card.sha256
    return Incoming(path=given.path, text=given.text, state="same" if is_same else "other", card=card, there=there)
