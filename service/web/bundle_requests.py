"""The body of a request that imports cards."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, WithJsonSchema

from service.library import CARD_BYTES_MAX, PATH_CHARACTERS_MAX, RESOURCES_MAX
from service.library.bundles import FORMAT
from service.web.requests import Body

_DIGEST = r"^[0-9a-f]{64}$"


def _digest(value: str) -> str:
    if re.fullmatch(_DIGEST, value) is None:
        raise ValueError("must be a SHA-256 in hexadecimal, as the answer before had it")
    return value


Digest = Annotated[str, AfterValidator(_digest), WithJsonSchema({"type": "string", "pattern": _DIGEST})]


class BundledCardBody(Body):
    """One card of a bundle: its path in the library, and its whole text."""

    path: Annotated[str, Field(min_length=1, max_length=PATH_CHARACTERS_MAX)]
    card: Annotated[str, Field(max_length=CARD_BYTES_MAX)]


class BundleBody(Body):
    """What ``GET /resources/export`` answers: the whole file."""

    format: Literal["resource-installer-cards-1"] = FORMAT
    cards: Annotated[list[BundledCardBody], Field(min_length=1, max_length=RESOURCES_MAX)]


class ImportRequest(Body):
    """The body of ``POST /resources/import``. ``confirm``: the ``digest`` of the answer to the same request without it;
    only then anything is saved. ``replace``: the cards of the library that are replaced, each with the version
    (``there``) that was shown."""

    bundle: BundleBody
    confirm: Digest | None = None
    replace: Annotated[dict[str, Digest], Field(max_length=RESOURCES_MAX)] = Field(default_factory=dict)
