"""The answers about workflows, and about the catalogue."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

# pydantic reads typing's own only from Python 3.12 on.
from typing_extensions import TypedDict

from service.web.projection import Time


class NeededModel(TypedDict):
    """A model that a workflow names."""

    name: str
    state: Annotated[
        Literal["in_library", "missing", "unknown", "refused"],
        Field(description="missing: it has an address; unknown: it has none; refused: reason says why it is not used."),
    ]
    folder: Annotated[str | None, Field(description="Below models/ of ComfyUI.")]
    url: str | None
    sha256: str | None
    card: Annotated[str | None, Field(description="The card of the library that installs it.")]
    node: Annotated[str | None, Field(description="The type of the node that names it.")]
    source: Annotated[Literal["workflow", "catalogue"] | None, Field(description="Of the address.")]
    reason: str | None


class InspectedWorkflow(TypedDict):
    models: list[NeededModel]


class CatalogueEntry(TypedDict):
    name: str
    filename: str
    url: str
    folder: Annotated[
        str | None, Field(description="Below models/; null where the catalogue names none that is there.")
    ]
    type: str | None
    base: str | None
    size: Annotated[str | None, Field(description="As the catalogue says, rounded.")]


class CataloguePage(TypedDict):
    source: str
    count: Annotated[int, Field(ge=0, description="All of its entries.")]
    refreshed_at: Annotated[Time | None, Field(description="null: it was not read since the service started.")]
    entries: list[CatalogueEntry]
