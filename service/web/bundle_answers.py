"""The answers about cards that travel as one file, and about where a card was installed."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

# pydantic reads typing's own only from Python 3.12 on.
from typing_extensions import TypedDict

from service.web.projection import Time


class BundledCardView(TypedDict):
    path: str
    card: Annotated[str, Field(description="The whole text of the card.")]


class Bundle(TypedDict):
    """Cards with all that they depend on, dependencies first."""

    format: Literal["resource-installer-cards-1"]
    cards: list[BundledCardView]


class ImportedCard(TypedDict):
    path: str
    title: str | None
    state: Annotated[
        Literal["new", "same", "other", "broken", "saved", "replaced"],
        Field(description="other: the library has another card at this path. broken: it can be no card."),
    ]
    commands: Annotated[str, Field(description="What it runs on an instance.")]
    dependencies: list[str]
    there: Annotated[str | None, Field(description="Of `other`: the version in the library, for `replace`.")]
    error: str | None


class Import(TypedDict):
    success: Literal[True]
    message: str
    saved: Annotated[bool, Field(description="false: nothing was changed, confirm with the digest.")]
    digest: Annotated[str, Field(description="Of what was shown, for `confirm`.")]
    cards: list[ImportedCard]


class CardInstallView(TypedDict):
    """One job's turn at a card."""

    job_id: str
    instance: Annotated[str, Field(description="user@host:port")]
    ui_home: str
    state: Annotated[str, Field(description="Of the card in this job.")]
    verified: str | None
    cause: str | None
    card_sha256: Annotated[str | None, Field(description="Of the card's text as it ran.")]
    started_at: Time | None
    ended_at: Time | None


class CardInstalls(TypedDict):
    """The newest first."""

    path: str
    installs: list[CardInstallView]
