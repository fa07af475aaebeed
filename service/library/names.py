"""The names that cards have beside their paths: aliases, and the AIR of the model."""

from __future__ import annotations

from collections.abc import Iterable

from service.library.cards import Resource

_AIR_PREFIXES = ("urn:air:", "air:")
_AIR_PARTS_MIN = 4


class Names:
    """Which cards are called what. Capital letters do not count; an AIR counts also without ``urn:air:`` and from its
    source on: ``civitai:1678575@1900322``."""

    def __init__(self, cards: Iterable[Resource]) -> None:
        self._paths: dict[str, list[str]] = {}
        for card in cards:
            for key in {key for name in card.names for key in _keys(name)}:
                self._paths.setdefault(key, []).append(card.path)

    def find(self, name: str) -> list[str]:
        """The paths of the cards that have this name, more than one if it is ambiguous."""
        for key in _keys(name):
            if key in self._paths:
                return sorted(self._paths[key])
        return []


def _keys(name: str) -> list[str]:
    """The most exact first."""
    key = name.strip().casefold()
    for prefix in _AIR_PREFIXES:
        if key.startswith(prefix):
            key = key.removeprefix(prefix)
            break
    else:
        return [key]
    parts = key.split(":")
    return [key, ":".join(parts[2:])] if len(parts) >= _AIR_PARTS_MIN else [key]
