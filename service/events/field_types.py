"""Whether a stored event's fields have the types that its class declares: a log can hold what no version wrote."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping
from functools import cache
from typing import Any, NamedTuple

from service.events.event_types import class_of

_ABSENT = object()


class _Field(NamedTuple):
    """``kinds``: the types that its value may have; ``items``: what each item of a list is, None if it is no list."""

    name: str
    is_required: bool
    kinds: frozenset[type]
    items: type | None


def fits(event_type: str, version: int, data: Mapping[str, Any]) -> bool:
    """Whether ``decode`` makes a usable event of this. What has no decoder is not looked into."""
    for name, is_required, kinds, items in _fields(event_type, version):
        value = data.get(name, _ABSENT)
        if value is _ABSENT:
            if is_required:
                return False
        elif type(value) not in kinds or (items is not None and not all(type(item) is items for item in value)):
            return False
    return True


@cache
def _fields(event_type: str, version: int) -> tuple[_Field, ...]:
    cls = class_of(event_type, version)
    if cls is None:
        return ()
    hints = typing.get_type_hints(cls)
    return tuple(
        _Field(f.name, _is_required(f), _kinds(hints[f.name]), _items(hints[f.name])) for f in dataclasses.fields(cls)
    )


def _is_required(field: dataclasses.Field[Any]) -> bool:
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


def _kinds(hint: Any) -> frozenset[type]:
    alternatives = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    kinds = {typing.get_origin(alternative) or alternative for alternative in alternatives}
    # JSON writes 4.0 as 4.0, but a person who repairs a row may not.
    return frozenset(kinds | {int} if float in kinds else kinds)


def _items(hint: Any) -> type | None:
    if typing.get_origin(hint) is not list:
        return None
    (item,) = typing.get_args(hint)
    kind: type = typing.get_origin(item) or item
    return kind
