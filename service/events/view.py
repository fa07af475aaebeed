"""The JSON form of a record, said once: by the names of what it shows."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from enum import Enum
from operator import attrgetter
from typing import Any, get_type_hints

from service.events.recorded_event import rfc3339


class View:
    """A JSON object whose keys are attributes of one class: fields or properties, in this order.

    A time ``x_at_ms`` is shown as ``x_at``, in RFC 3339; a property ``is_x`` as ``x``. Enums become their values and
    tuples lists. ``types``: for each key the type of its value, from the annotations of the class; a time is a datetime
    there.
    """

    def __init__(self, shown: type, *names: str) -> None:
        self._read = attrgetter(*names)
        self.types: dict[str, Any] = {}
        self._keys: list[tuple[str, Callable[[Any], Any] | None]] = []
        for name in names:
            annotation = _annotation(shown, name)
            key = _key(name)
            self._keys.append((key, _conversion(name, annotation)))
            self.types[key] = _with_times(annotation) if name.endswith("_at_ms") else annotation

    def of(self, record: Any) -> dict[str, Any]:
        values = zip(self._keys, self._read(record), strict=True)
        return {key: value if convert is None else convert(value) for (key, convert), value in values}


def _key(name: str) -> str:
    return name.removesuffix("_ms") if name.endswith("_at_ms") else name.removeprefix("is_")


def _annotation(shown: type, name: str) -> Any:
    fields = get_type_hints(shown)
    return fields[name] if name in fields else get_type_hints(getattr(shown, name).fget)["return"]


def _conversion(name: str, annotation: Any) -> Callable[[Any], Any] | None:
    if name.endswith("_at_ms"):
        return _time
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return attrgetter("value")
    return list if getattr(annotation, "__origin__", None) is tuple else None


def _with_times(annotation: Any) -> Any:
    return datetime if annotation is int else datetime | None


def _time(at_ms: int | None) -> str | None:
    return None if at_ms is None else rfc3339(at_ms)
