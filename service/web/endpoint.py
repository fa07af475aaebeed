"""What an endpoint of the API declares.

A handler's arguments have the names of the declared parameters; a body comes as ``body``, and where several
content types are offered, the one that the client prefers comes as ``content_type``. It returns its answer as the
declared type, or a response of its own making.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel

from service.web.parameters import Parameter

JSON = "application/json"

Handler = Callable[..., Awaitable[Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """``answer``: a type of answers.py, or a type or a schema for each content type. ``more``: other answers by status,
    a type or words. ``errors``: the refusals beside those that every endpoint has. ``location``: the Location header,
    filled with fields of the answer. ``version``: the field of the answer that is its ETag. ``is_open``: it is answered
    without a token."""

    method: str
    path: str
    handler: Handler
    summary: str
    answer: Any
    status: int = 200
    more: Mapping[int, Any] = field(default_factory=dict)
    body: type[BaseModel] | None = None
    example: Any = None
    parameters: Sequence[Parameter] = ()
    errors: Sequence[int] = ()
    location: str | None = None
    version: str | None = None
    is_open: bool = False
    note: str = ""

    @property
    def name(self) -> str:
        return self.handler.__name__

    @property
    def content_types(self) -> tuple[str, ...]:
        """What is offered, the first by default."""
        return tuple(self.answer) if isinstance(self.answer, Mapping) else (JSON,)

    @property
    def route(self) -> str:
        """The path as aiohttp reads it."""
        path = self.path
        for parameter in self.parameters:
            if parameter.route is not None:
                path = path.replace(f"{{{parameter.name}}}", f"{{{parameter.name}:{parameter.route}}}")
        return path
