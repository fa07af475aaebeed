"""What of a workflow's models the library has, and where the others come from. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal
from urllib.parse import unquote, urlsplit

from service.library import Resource
from service.workflows.catalogue import Catalogue
from service.workflows.reader import NamedModel

FOLDER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*(?:/[A-Za-z0-9_][A-Za-z0-9_.-]*){0,3}")

State = Literal["in_library", "missing", "unknown", "refused"]
_NAME_END = r"(?=[\"'\s?#&;\\)]|$)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """A model that a workflow names. ``folder``: below models/. ``card``: the path of the card that installs it.
    ``missing``: it has an address, ``unknown``: it has none, ``refused``: ``reason`` says why what the workflow gives
    is not used. ``source``: of the address."""

    name: str
    state: State
    folder: str | None
    url: str | None = None
    sha256: str | None = None
    card: str | None = None
    node: str | None = None
    source: Literal["workflow", "catalogue"] | None = None
    reason: str | None = None


def needs_of(models: Iterable[NamedModel], cards: Iterable[Resource], catalogue: Catalogue) -> list[Need]:
    """In the order of the workflow. Looks through all cards, so not on the event loop."""
    library = [_Card(card) for card in cards]
    return [_need(model, library, catalogue) for model in models]


class _Card:
    """What of a card is compared with each model."""

    def __init__(self, card: Resource) -> None:
        self.path = card.path
        self.hashes = {card.front.sha256, *(file.sha256 for file in card.front.files)} - {None}
        self.names = {file.path.rpartition("/")[2].casefold() for file in card.front.files}
        self.script = card.script.casefold()

    def installs(self, base: str, sha256: str | None) -> bool:
        """By the hash; else by a file that the card names, or that its commands write or load."""
        if (sha256 is not None and sha256 in self.hashes) or base in self.names:
            return True
        if base not in self.script:
            return False
        pattern = rf"(?:^|[/\"'\s=]){re.escape(base)}{_NAME_END}"
        return re.search(pattern, self.script, re.MULTILINE) is not None


def _need(model: NamedModel, library: list[_Card], catalogue: Catalogue) -> Need:
    base = model.name.rpartition("/")[2]
    reason = _refusal(model)
    folder = model.directory if model.directory is not None and reason is None else model.folder
    if reason is not None:
        return Need(name=model.name, state="refused", folder=None, node=model.node, reason=reason)
    card = next((card for card in library if card.installs(base.casefold(), model.sha256)), None)
    entry = catalogue.of_file(base) if model.url is None else None
    url = model.url or (entry.url if entry is not None else None)
    folder = folder or (entry.folder if entry is not None else None)
    return Need(
        name=model.name,
        state="in_library" if card is not None else "missing" if url is not None else "unknown",
        folder=folder,
        url=url,
        sha256=model.sha256,
        card=card.path if card is not None else None,
        node=model.node,
        source=None if url is None else "workflow" if model.url is not None else "catalogue",
        reason=_other_name(base, url) if card is None else None,
    )


def _refusal(model: NamedModel) -> str | None:
    """Why what the workflow gives cannot be used."""
    parts = model.name.split("/")
    if any(part in ("", ".", "..") for part in parts) or not model.name.isprintable():
        return "its name leads out of its folder, or holds what is not shown"
    if model.directory is not None and not FOLDER.fullmatch(model.directory):
        return "its directory is no folder below models/"
    if model.url is not None:
        try:
            place = urlsplit(model.url)
        except ValueError:
            return "its address is none"
        if place.scheme not in ("https", "http") or not place.hostname or not model.url.isprintable():
            return "its address does not begin with https:// or http://"
        if place.username is not None or place.password is not None:
            return "its address holds a user or a password"
    return None


def _other_name(base: str, url: str | None) -> str | None:
    """The workflow looks for a name that the address may not give."""
    if url is None:
        return None
    given = unquote(urlsplit(url).path).rpartition("/")[2]
    is_model = given.casefold().endswith((".safetensors", ".sft", ".gguf", ".ckpt", ".pt", ".pth", ".bin", ".onnx"))
    if is_model and given.casefold() != base.casefold():
        return f"the address gives it the name {given[:200]}: rename it on the card, or choose it in the workflow"
    return None
