"""Parameters of requests: one object holds a parameter's limits, reads it by them and describes them.

A handler gets the value as the argument that ``argument`` names; a parameter that is missing gives its default.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from aiohttp import web

from service.errors import FieldError, InvalidRequest

NUMBER_MAX = 2**53
TEXT = {"type": "string"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """``read`` turns the text into the value; it raises ValueError, whose words say what the value must be. A path's
    part is not read: one that fits nothing is simply not found. ``route``: what the part may be, for the router."""

    name: str
    within: Literal["query", "path", "header"]
    schema: Mapping[str, Any]
    description: str
    argument: str
    read: Callable[[str], Any] = str
    default: Any = None
    repeated: bool = False
    example: str | None = None
    route: str | None = None

    def value(self, request: web.Request) -> Any:
        """Raises InvalidRequest, which names the parameter."""
        if self.within == "path":
            return request.match_info[self.name]
        given = request.query if self.within == "query" else request.headers
        try:
            if self.repeated:
                texts = given.getall(self.name, None)
                return None if texts is None else [self.read(text) for text in texts]
            text = given.get(self.name)
            return self.default if text is None else self.read(text)
        except ValueError as error:
            raise InvalidRequest(f"{self.name}: {error}", [FieldError(self.name, str(error))]) from None

    def described(self) -> dict[str, Any]:
        """As OpenAPI has it."""
        described: dict[str, Any] = {"name": self.name, "in": self.within}
        if self.within == "path":
            described["required"] = True
        described |= {"schema": dict(self.schema), "description": self.description}
        return described if self.example is None else {**described, "example": self.example}


def part(
    name: str, schema: Mapping[str, Any], description: str, example: str | None = None, route: str | None = None
) -> Parameter:
    """A part of the path."""
    return Parameter(
        name=name, within="path", schema=schema, description=description, argument=name, example=example, route=route
    )


def text(name: str, description: str) -> Parameter:
    return Parameter(name=name, within="query", schema=TEXT, description=description, argument=name)


def texts(name: str, argument: str, description: str) -> Parameter:
    """A parameter that may be given several times; None when it is not given."""
    schema = {"type": "array", "items": TEXT}
    return Parameter(
        name=name, within="query", schema=schema, description=description, argument=argument, repeated=True
    )


def number(name: str, least: int, most: int, default: int, description: str) -> Parameter:
    """An integer between two bounds."""

    def read(given: str) -> int:
        if not (_is_number(given) and least <= int(given) <= most):
            raise ValueError(f"must be an integer from {least} to {most}")
        return int(given)

    schema = {"type": "integer", "minimum": least, "maximum": most, "default": default}
    return Parameter(
        name=name, within="query", schema=schema, description=description, argument=name, read=read, default=default
    )


def choice(name: str, values: Sequence[str], description: str, *, default: str | None = None) -> Parameter:
    """One of these words."""
    must = f"must be {' or '.join(values)}" if len(values) == 2 else f"must be one of {', '.join(values)}"

    def read(given: str) -> str:
        if given not in values:
            raise ValueError(must)
        return given

    schema = {"type": "string", "enum": list(values)} | ({"default": default} if default is not None else {})
    return Parameter(
        name=name, within="query", schema=schema, description=description, argument=name, read=read, default=default
    )


def matching(
    name: str,
    pattern: str,
    must: str,
    description: str,
    *,
    within: Literal["query", "header"] = "query",
    read: Callable[[str], Any] = str,
) -> Parameter:
    """A text that fits a pattern; ``must`` says in words what that is."""
    shape = re.compile(pattern)

    def fitting(given: str) -> Any:
        if not shape.fullmatch(given):
            raise ValueError(must)
        return read(given)

    return Parameter(
        name=name,
        within=within,
        schema={"type": "string", "pattern": f"^{pattern}$"},
        description=description,
        argument=name.lower().replace("-", "_"),
        read=fitting,
    )


def moment(name: str, description: str) -> Parameter:
    """A time in milliseconds since the epoch; without a zone it is UTC."""

    def read(given: str) -> int:
        try:
            at = datetime.fromisoformat(given.replace("Z", "+00:00"))
        except ValueError:
            raise ValueError("must be a time like 2026-01-31T00:00:00Z") from None
        return round((at if at.tzinfo is not None else at.replace(tzinfo=UTC)).timestamp() * 1000)

    schema = {"type": "string", "format": "date-time"}
    return Parameter(
        name=name, within="query", schema=schema, description=description, argument=name, read=read, default=0
    )


def _is_number(given: str) -> bool:
    return given.isascii() and given.isdigit() and len(given) < 17
