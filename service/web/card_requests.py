"""The bodies of requests about links and cards."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, Field, WithJsonSchema

from service.library import CARD_BYTES_MAX
from service.links import LINK_CHARACTERS_MAX
from service.links.folders import FOLDER_CHARACTERS_MAX, FOLDER_PATTERN
from service.web.requests import CARD_PATH_SCHEMA, Body


def _folder(value: str) -> str:
    if len(value) > FOLDER_CHARACTERS_MAX or not re.fullmatch(FOLDER_PATTERN, value):
        raise ValueError("must be a folder below models/ of ComfyUI, like loras or loras/wan")
    return value


_FOLDER_SCHEMA = {
    "type": "string",
    "maxLength": FOLDER_CHARACTERS_MAX,
    "pattern": FOLDER_PATTERN,
    "description": "Below models/ of ComfyUI, in place of the one that fits the model's type.",
}
_LINK_SCHEMA = {
    "type": "string",
    "minLength": 1,
    "maxLength": LINK_CHARACTERS_MAX,
    "description": "A CivitAI page or download address, an AIR, a Hugging Face file or repository, or the address of a "
    "file.",
}

CardPath = Annotated[str, WithJsonSchema(CARD_PATH_SCHEMA)]
Folder = Annotated[str, AfterValidator(_folder), WithJsonSchema(_FOLDER_SCHEMA)]
LinkText = Annotated[str, WithJsonSchema(_LINK_SCHEMA)]
RepositoryFile = Annotated[str, Field(min_length=1, max_length=1_000)]
CardText = Annotated[str, Field(max_length=CARD_BYTES_MAX)]


class PreviewRequest(Body):
    """The body of ``POST /resources/preview``. ``file``: which one of a repository, if the link names none. ``path``:
    of the card. ``picture``: send the model's picture along."""

    url: LinkText
    file: RepositoryFile | None = None
    folder: Folder | None = None
    path: CardPath | None = None
    picture: bool = False


class NewCardRequest(Body):
    """The body of ``POST /resources``: a link, or the text of a card and its path."""

    url: LinkText | None = None
    file: RepositoryFile | None = None
    folder: Folder | None = None
    card: CardText | None = None
    path: CardPath | None = None


class CardRequest(Body):
    """The body of ``PUT /resources/{path}``: the whole text of the card."""

    card: CardText
