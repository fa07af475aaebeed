"""A resource card: what it may say of itself, what it installs, and the form in which clients see it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

FILES_MAX = 200
FILE_PATH_CHARACTERS_MAX = 1000
# What the log's integers hold.
BYTES_LIMIT = 10**15


def _inside(value: str) -> str:
    if any(ord(character) < 32 or ord(character) == 127 for character in value):
        raise ValueError("must be one line of text")
    if value.startswith("/") or any(part in ("", ".", "..") for part in value.split("/")):
        raise ValueError("must be a path below $UI_HOME, without empty parts, . or ..")
    return value


class CardFile(BaseModel):
    """A file that a card leaves below ``$UI_HOME``; ``size`` in bytes, exact."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, hide_input_in_errors=True)

    path: Annotated[str, Field(max_length=FILE_PATH_CHARACTERS_MAX), AfterValidator(_inside)]
    sha256: str | None = None
    size: int | None = Field(default=None, ge=0, lt=BYTES_LIMIT)


class FrontMatter(BaseModel):
    """What a card says of itself, as ``fields.py`` reads it. Other keys are kept.

    ``size``: an estimate of all that it downloads, in bytes. ``sha256``: of its only file. ``aliases`` and ``AIR``:
    names for it beside its path. ``installs``: "nothing" for a card that leaves no file below ``$UI_HOME``.
    ``background``: whether processes that it started may outlive its script.
    """

    model_config = ConfigDict(extra="allow", strict=True, frozen=True, hide_input_in_errors=True)

    title: str
    type: str | None = None
    ecosystem: str | None = None
    basemodel: str | None = None
    version: str | int | float | None = None
    tags: list[str] = []
    size: int | None = None
    sha256: str | None = None
    files: list[CardFile] = Field(default=[], max_length=FILES_MAX)
    url: str | None = None
    license: str | None = None
    image: str | None = None
    dependencies: list[str] = []
    aliases: list[str] = []
    AIR: str | None = None
    installs: Literal["nothing"] | None = None
    background: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Resource:
    """One card. ``script``: the commands that install it, empty for a bundle, which is its dependencies and no more.
    ``sha256``: of the whole card file. ``warnings``: what was left out of it, and why."""

    path: str
    front: FrontMatter
    description: str
    script: str
    sha256: str
    warnings: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        return self.front.title

    @property
    def dependencies(self) -> tuple[str, ...]:
        """As the card names them: paths, aliases or AIR names."""
        return tuple(self.front.dependencies)

    @property
    def is_bundle(self) -> bool:
        return not self.script

    @property
    def installs_nothing(self) -> bool:
        """Whether it is installed although it leaves no file."""
        return self.is_bundle or self.front.installs == "nothing"

    @property
    def names(self) -> tuple[str, ...]:
        """What it may be called beside its path."""
        air = self.front.AIR.split(", ") if self.front.AIR is not None else ()
        return (*self.front.aliases, *air)

    @property
    def size_bytes(self) -> int | None:
        """About all bytes that the card downloads: its ``size``, else the sum of its files where each has one, else
        None."""
        sizes = [file.size for file in self.front.files]
        known = [size for size in sizes if size is not None]
        if self.front.size is not None or not sizes or len(known) < len(sizes):
            return self.front.size
        return sum(known) if sum(known) < BYTES_LIMIT else None

    def to_dict(self) -> dict[str, Any]:
        front = self.front.model_dump(mode="json")
        own = {
            "path": self.path,
            "size": self.size_bytes,
            "description": self.description,
            "sha256": self.sha256,
            "warnings": list(self.warnings),
        }
        return {"path": self.path, **front, **own}


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokenCard:
    """A card that cannot be used, and why."""

    path: str
    error: str

    def to_dict(self) -> dict[str, Any]:
        return {"path": self.path, "error": self.error}
