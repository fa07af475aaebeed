"""Reads the front matter of a card into plain values, which JSON can carry.

People write text and do not think of YAML's types, so a scalar is a number, a boolean or null only where JSON would
write it just so. Everything else stays the text that was written: dates, ``1:59:59`` (3,599 seconds to YAML 1.1),
``1.10``, ``0x1F``, ``no``, a number with more digits than JSON's readers keep.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import yaml

from service.errors import CardError

FRONT_CHARACTERS_MAX = 32 * 1024
YAML_DEPTH_MAX = 20
NUMBERS_LIMIT = 1 << 63

# libyaml where PyYAML was built with it: ten times as fast, the same events.
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_NULLS = frozenset({"", "~", "null", "Null", "NULL"})
_BOOLEANS = {"true": True, "false": False}
_NUMBER_CHARACTERS_MAX = 32


def split_front(path: str, text: str) -> tuple[str, str]:
    """The front matter without its marks, empty if there is none, and the body. Raises CardError."""
    lines = text.split("\n")
    if lines[0].rstrip() != "---":
        return "", text
    for number, line in enumerate(lines[1:], 1):
        if line.rstrip() in ("---", "..."):
            front = "".join(line + "\n" for line in lines[1:number])
            if len(front) > FRONT_CHARACTERS_MAX:
                raise CardError(
                    f'card "{path}": the front matter is longer than {FRONT_CHARACTERS_MAX} characters: move what only '
                    "people read to the description"
                )
            return front, "\n".join(lines[number + 1 :])
    raise CardError(f'card "{path}": the front matter does not end with ---')


def read_front(path: str, front: str, *, first_line: int = 2) -> dict[str, Any]:
    """Its keys and plain values. ``first_line``: its number in the file. Raises CardError."""
    try:
        data = _Reader(front).read()
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" in line {mark.line + first_line}" if mark is not None else ""
        raise CardError(f'card "{path}": the front matter is not YAML{where}: {_problem(error)}') from error
    except ValueError as error:
        raise CardError(f'card "{path}": the front matter cannot be read: {error}') from error
    if data is None:
        return {}
    if not isinstance(data, dict):
        raise CardError(f'card "{path}": the front matter must be a list of "key: value" lines')
    return data


class _Reader:
    """One document, event by event: no alias is followed (a few can unfold to gigabytes) and no object is made."""

    def __init__(self, front: str) -> None:
        self._events: Iterator[yaml.Event] = yaml.parse(front, Loader=_LOADER)

    def read(self) -> Any:
        for event in self._events:
            if not isinstance(event, yaml.StreamStartEvent | yaml.DocumentStartEvent | yaml.StreamEndEvent):
                value = self._value(event, YAML_DEPTH_MAX)
                self._end()
                return value
        return None

    def _end(self) -> None:
        """What follows the first document must still be YAML."""
        for _ in self._events:
            pass

    def _value(self, event: yaml.Event, depth: int) -> Any:
        if depth == 0:
            raise ValueError(f"more than {YAML_DEPTH_MAX} levels")
        if isinstance(event, yaml.AliasEvent):
            raise _refused(event, "aliases are not allowed")
        if isinstance(event, yaml.ScalarEvent):
            return _scalar(event)
        _check_tag(event, "map", "seq")
        if isinstance(event, yaml.SequenceStartEvent):
            return [self._value(part, depth - 1) for part in self._until(yaml.SequenceEndEvent)]
        return self._map(depth)

    def _map(self, depth: int) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for event in self._until(yaml.MappingEndEvent):
            if not isinstance(event, yaml.ScalarEvent):
                raise ValueError("a key is not text: put it in quotes")
            key = _text(event)
            values[key] = self._value(next(self._events), depth - 1)
        return values

    def _until(self, end: type[yaml.Event]) -> Iterator[yaml.Event]:
        for event in self._events:
            if isinstance(event, end):
                return
            yield event


def _scalar(event: yaml.ScalarEvent) -> str | int | float | bool | None:
    text = _text(event)
    if event.style or event.tag is not None:
        return text
    if text in _NULLS:
        return None
    if text in _BOOLEANS:
        return _BOOLEANS[text]
    return _number(text)


def _text(event: yaml.ScalarEvent) -> str:
    _check_tag(event, "str")
    text: str = event.value
    text.encode("utf-8")
    return text


def _check_tag(event: Any, *kinds: str) -> None:
    """Refuses every tag that would make something else than text, a list or a map."""
    if event.tag not in (None, "!", *(f"tag:yaml.org,2002:{kind}" for kind in kinds)):
        raise _refused(event, f"tags like {event.tag[:60]} are not allowed")


def _number(text: str) -> str | int | float:
    """A number that JSON's readers keep as it is written, else the text."""
    if len(text) > _NUMBER_CHARACTERS_MAX:
        return text
    try:
        return _as_written(text, int(text)) if text.lstrip("-").isdigit() else _as_written(text, float(text))
    except ValueError:
        return text


def _as_written(text: str, number: int | float) -> str | int | float:
    return number if str(number) == text and abs(number) < NUMBERS_LIMIT else text


def _refused(event: yaml.Event, problem: str) -> yaml.MarkedYAMLError:
    mark: Any = event.start_mark
    return yaml.MarkedYAMLError(problem=problem, problem_mark=mark)


def _problem(error: yaml.YAMLError) -> str:
    problem = str(getattr(error, "problem", None) or error).partition("\n")[0][:200]
    if isinstance(error, yaml.MarkedYAMLError):
        return (
            f'{problem}; text that holds ": " or " #", or begins with a mark like [ {{ * & ! % @, must stand in quotes'
        )
    return problem
