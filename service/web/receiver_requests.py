"""The body of a request about receivers."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field

from service.notify.address import ADDRESS_CHARACTERS_MAX, KINDS, Kind
from service.web.requests import Body

SECRET_CHARACTERS_MAX = 200


def _some(value: list[Kind]) -> list[Kind]:
    if not 1 <= len(value) <= len(KINDS):
        raise ValueError(f"must name at least one of {', '.join(KINDS)}, each once")
    return value


class ReceiverRequest(Body):
    """The body of ``POST /receivers``. ``url``: of a webhook (https://…), or an address as Apprise writes it (ntfy://…).
    ``secret``: what webhooks are signed with, ``whsec_`` and base64; without it the service makes one. ``events``: what
    the receiver is told; all by default."""

    url: Annotated[str, Field(min_length=1, max_length=ADDRESS_CHARACTERS_MAX)]
    secret: Annotated[str, Field(max_length=SECRET_CHARACTERS_MAX)] | None = None
    name: Annotated[str, Field(min_length=1, max_length=100)] | None = None
    events: Annotated[list[Kind], AfterValidator(_some)] | None = None
