"""A resource card: what it may say of itself, what it installs, and the form in which clients see it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

FILES_MAX = 200
TITLE_CHARACTERS_MAX = 500
FILE_PATH_CHARACTERS_MAX = 1000


def _one_line(value: str) -> str:
    if not value.strip() or any(ord(character) < 32 or ord(character) == 127 for character in value):
        raise ValueError("must be one line of text")
    return value.strip()


def _inside(value: str) -> str:
    _one_line(value)
    if value.startswith("/") or any(part in ("", ".", "..") for part in value.split("/")):
        raise ValueError("must be a path below $UI_HOME, without empty parts, . or ..")
    return value


Sha256 = Annotated[str, Field(pattern=r"^[0-9a-fA-F]{64}$")]


class CardFile(BaseModel):
    """A file that a card leaves below ``$UI_HOME``; ``size`` in bytes."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, hide_input_in_errors=True)

    path: Annotated[str, Field(max_length=FILE_PATH_CHARACTERS_MAX), AfterValidator(_inside)]
    sha256: Sha256 | None = None
    size: int | None = Field(default=None, ge=0)


class FrontMatter(BaseModel):
    """What a card may say of itself. Other keys are kept."""

    model_config = ConfigDict(extra="allow", strict=True, frozen=True, hide_input_in_errors=True)

    title: Annotated[str, Field(max_length=TITLE_CHARACTERS_MAX), AfterValidator(_one_line)]
    type: str | None = None
    ecosystem: str | None = None
    basemodel: str | None = None
    version: str | int | float | None = None
    tags: list[str] = []
    size: int | None = Field(default=None, ge=0)
    sha256: Sha256 | None = None
    files: list[CardFile] = Field(default=[], max_length=FILES_MAX)
    url: str | None = None
    license: str | None = None
    image: str | None = None
    dependencies: list[str] = []
    installs: Literal["nothing"] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Resource:
    """One card. ``script``: the commands that install it. ``sha256``: of the whole card file."""

    path: str
    front: FrontMatter
    description: str
    script: str
    sha256: str

    @property
    def title(self) -> str:
        return self.front.title

    @property
    def dependencies(self) -> tuple[str, ...]:
        return tuple(self.front.dependencies)

    @property
    def size_bytes(self) -> int | None:
        """All bytes that the card downloads: its ``size``, else the sum of its files where each has one, else None."""
        sizes = [file.size for file in self.front.files]
        known = [size for size in sizes if size is not None]
        if self.front.size is not None or not sizes or len(known) < len(sizes):
            return self.front.size
        return sum(known)

    def to_dict(self) -> dict[str, Any]:
        front = self.front.model_dump(mode="json")
        own = {"path": self.path, "description": self.description, "sha256": self.sha256}
        return {"path": self.path, **front, **own}


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokenCard:
    """A card that cannot be used, and why."""

    path: str
    error: str

    def to_dict(self) -> dict[str, Any]:
        return {"path": self.path, "error": self.error}
