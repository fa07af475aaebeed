"""Which cards a request means, and what they depend on: once each, dependencies before their dependents."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from service.errors import CardError, FieldError, InvalidRequest, UnknownResource
from service.library.cards import BrokenCard, Resource
from service.library.names import Names
from service.library.paths import PATH_CHARACTERS_MAX, short

if TYPE_CHECKING:
    from service.library.folder import Library

RESOURCES_MAX = 100
_LISTED_MAX = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class ResolvedCard:
    """A card of a job. ``dependencies``: the paths of the cards that its own ``dependencies`` name."""

    card: Resource
    dependencies: tuple[str, ...]

    @property
    def path(self) -> str:
        return self.card.path


def resolve(library: Library, names: Sequence[str]) -> list[ResolvedCard]:
    """``names``: paths, aliases or AIR names. Raises InvalidRequest (doubled, ambiguous, broken, cyclic, too many) and
    UnknownResource."""
    resolution = _Resolution(library)
    paths: list[str] = []
    for index, name in enumerate(names):
        path = resolution.path_of(name, f"resources[{index}]", needed_by=None)
        if path in paths:
            also = "" if name == path else f" (it is {path})"
            raise _invalid(f"resources[{index}]", f'"{short(name)}"{also} is named twice: name it once')
        paths.append(path)
    for index, path in enumerate(paths):
        resolution.add(path, (), f"resources[{index}]")
    return list(resolution.resolved.values())


class _Resolution:
    def __init__(self, library: Library) -> None:
        self._library = library
        self._names: Names | None = None
        self._broken = 0
        self.resolved: dict[str, ResolvedCard] = {}

    def add(self, path: str, chain: tuple[str, ...], field: str) -> None:
        if path in self.resolved:
            return
        if path in chain:
            cycle = " -> ".join([*chain[chain.index(path) :], path])
            raise _invalid(field, f"the dependencies go in a circle: {cycle}")
        if len(chain) > RESOURCES_MAX:
            raise _invalid(field, f"more than {RESOURCES_MAX} dependencies follow from it")
        card = self._card(path, chain, field)
        needed = dict.fromkeys(self.path_of(name, field, needed_by=path) for name in card.dependencies)
        for dependency in needed:
            self.add(dependency, (*chain, path), field)
        self.resolved[path] = ResolvedCard(card=card, dependencies=tuple(needed))
        if len(self.resolved) > RESOURCES_MAX:
            raise _invalid("resources", f"more than {RESOURCES_MAX} resources with their dependencies: split the job")

    def path_of(self, name: str, field: str, *, needed_by: str | None) -> str:
        """A path wins over a name, so that no card can take the place of another one."""
        if self._library.has(name):
            return name
        found = self._named(name)
        if len(found) > 1:
            listed = ", ".join(found[:_LISTED_MAX]) + (", …" if len(found) > _LISTED_MAX else "")
            raise _invalid(field, f'"{short(name)}" is the name of several cards: give the path of one: {listed}')
        if found:
            return found[0]
        if self._library.has(f"{name}.md"):
            return f"{name}.md"
        raise self._unknown(name, field, needed_by)

    def _named(self, name: str) -> list[str]:
        if not 1 <= len(name) <= PATH_CHARACTERS_MAX:
            return []
        if self._names is None:
            cards = self._library.all()
            self._names = Names(card for card in cards if isinstance(card, Resource))
            self._broken = sum(isinstance(card, BrokenCard) for card in cards)
        return self._names.find(name)

    def _unknown(self, name: str, field: str, needed_by: str | None) -> InvalidRequest | UnknownResource:
        broken = f" ({self._broken} broken cards have no names)" if self._broken else ""
        reason = "no such card"
        try:
            self._library.get(name)
        except UnknownResource as error:
            if needed_by is None:
                return UnknownResource(error.message, [FieldError(field, error.message)])
        except InvalidRequest as error:
            if needed_by is None:
                return _invalid(field, f"{error.message}, and no card has this alias or AIR{broken}")
            is_path = name.endswith(".md")
            reason = error.message if is_path else f"no card has this path, alias or AIR{broken}"
        return _invalid(field, f'"{needed_by}" depends on "{short(name)}": {reason}')

    def _card(self, path: str, chain: tuple[str, ...], field: str) -> Resource:
        try:
            return self._library.get(path)
        except UnknownResource as error:
            if not chain:
                raise UnknownResource(error.message, [FieldError(field, error.message)]) from error
            raise _invalid(field, f'"{chain[-1]}" depends on "{short(path)}": no such card') from error
        except CardError as error:
            raise _invalid(field, str(error)) from error
        except InvalidRequest as error:
            raise _invalid(field, error.message) from error


def _invalid(field: str, message: str) -> InvalidRequest:
    return InvalidRequest(message, [FieldError(field, message)])
