"""Reads a card file: its front matter, then its sections. Each error names the card and what is wrong with it."""

from __future__ import annotations

import hashlib
import math
import re
from typing import Any

import yaml
from pydantic import ValidationError

from service.errors import CardError
from service.library.cards import FrontMatter, Resource
from service.library.sections import Sections

FRONT_CHARACTERS_MAX = 32 * 1024
YAML_DEPTH_MAX = 20

_FRONT = re.compile(r"---[ \t]*\n(?P<front>(?:.*\n)*?)---[ \t]*(?:\n|$)")


def parse_card(path: str, raw: bytes) -> Resource:
    """Raises CardError, which names the card and what is wrong with it."""
    try:
        text = raw.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        raise CardError(f'card "{path}" is not UTF-8: byte {error.start}') from error
    if "\0" in text:
        raise CardError(f'card "{path}" holds a NUL character')
    front, body = _split_front(path, text)
    sections = Sections(body)
    if not sections.script.strip():
        raise CardError(f'card "{path}" has no ```bash block under a "# Download" heading')
    return Resource(
        path=path,
        front=front,
        description=sections.description.strip(),
        script=sections.script,
        sha256=hashlib.sha256(raw).hexdigest(),
    )


def _split_front(path: str, text: str) -> tuple[FrontMatter, str]:
    if not text.startswith("---"):
        raise CardError(f'card "{path}" has no front matter: begin it with --- and a title')
    found = _FRONT.match(text)
    if found is None:
        raise CardError(f'card "{path}": the front matter does not end with ---')
    if len(found["front"]) > FRONT_CHARACTERS_MAX:
        raise CardError(f'card "{path}": the front matter is longer than {FRONT_CHARACTERS_MAX} characters')
    return _validated(path, _load_yaml(path, found["front"])), text[found.end() :]


def _load_yaml(path: str, front: str) -> Any:
    try:
        data = yaml.load(front, _CardLoader)  # noqa: S506 - a SafeLoader without aliases
        _check_plain(data, YAML_DEPTH_MAX)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        # The first line of the file is the one before the front matter.
        where = f" in line {mark.line + 2}" if mark is not None else ""
        raise CardError(f'card "{path}": the front matter is not YAML{where}: {_problem(error)}') from error
    except (RecursionError, ValueError) as error:
        raise CardError(f'card "{path}": the front matter cannot be read: {error}') from error
    return data


def _validated(path: str, data: Any) -> FrontMatter:
    if not isinstance(data, dict):
        raise CardError(f'card "{path}": the front matter must be a list of "key: value" lines')
    # A known key without a value counts as a key that is not there.
    given = {key: value for key, value in data.items() if value is not None or key not in FrontMatter.model_fields}
    try:
        return FrontMatter.model_validate(given)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise CardError(f'card "{path}": {where}: {first["msg"].lower().removeprefix("value error, ")}') from error


def _check_plain(value: Any, depth: int) -> None:
    """Raises ValueError for a value that JSON cannot carry: it would break every list that contains the card."""
    if depth == 0:
        raise ValueError(f"more than {YAML_DEPTH_MAX} levels")
    if isinstance(value, dict):
        if not all(isinstance(key, str) for key in value):
            raise ValueError("a key is not text: put it in quotes")
        for part in (*value, *value.values()):
            _check_plain(part, depth - 1)
    elif isinstance(value, list):
        for part in value:
            _check_plain(part, depth - 1)
    elif isinstance(value, str):
        value.encode("utf-8")
    elif not isinstance(value, int | float | None) or (isinstance(value, float) and not math.isfinite(value)):
        raise ValueError(f"{str(value)[:40]} is neither text, number, list nor map")


class _CardLoader(yaml.SafeLoader):
    """Refuses aliases: a few of them can unfold to gigabytes."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            event = self.peek_event()  # type: ignore[no-untyped-call]
            raise yaml.constructor.ConstructorError(None, None, "aliases are not allowed", event.start_mark)
        return super().compose_node(parent, index)


# Dates stay text, so that every value is plain JSON.
_CardLoader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def _problem(error: yaml.YAMLError) -> str:
    return str(getattr(error, "problem", None) or error).partition("\n")[0][:200]
