"""The library of resource cards: Markdown files with YAML front matter, read from one folder.

A card is read when it is asked for and kept by its time and size, so that an edited card counts at once. A broken card
is reported by name and reason and harms no other.
"""

from __future__ import annotations

import hashlib
import math
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Annotated, Any

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from service.errors import CardError, FieldError, InvalidRequest, UnknownResource

CARD_BYTES_MAX = 256 * 1024
FRONT_CHARACTERS_MAX = 32 * 1024
PATH_CHARACTERS_MAX = 255
RESOURCES_MAX = 100
CARDS_MAX = 10_000
YAML_DEPTH_MAX = 20
FILES_MAX = 200

_FENCE = re.compile(r"^ {0,3}(?P<fence>`{3,}|~{3,})[ \t]*(?P<info>[^`\n]*)$")
_HEADING = re.compile(r"^ {0,3}(?P<level>#{1,6})[ \t]+(?P<title>.*?)[ \t#]*$")
_FRONT = re.compile(r"---[ \t]*\n(?P<front>(?:.*\n)*?)---[ \t]*(?:\n|$)")


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
    """A file that a card leaves below ``$UI_HOME``, and what is known of it."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, hide_input_in_errors=True)

    path: Annotated[str, Field(max_length=1000), AfterValidator(_inside)]
    sha256: Sha256 | None = None
    size: int | None = Field(default=None, ge=0)


class FrontMatter(BaseModel):
    """What a card may say of itself; keys that are not listed are kept."""

    model_config = ConfigDict(extra="allow", strict=True, frozen=True, hide_input_in_errors=True)

    title: Annotated[str, Field(max_length=500), AfterValidator(_one_line)]
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Resource:
    """One card. ``script``: the commands that install it. ``sha256``: of the whole card, as it was read."""

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
        """All bytes that the card downloads, as far as it says."""
        sizes = [file.size for file in self.front.files]
        known = [size for size in sizes if size is not None]
        return self.front.size if self.front.size is not None or len(known) < len(sizes) or not sizes else sum(known)

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


class Library:
    """The cards below one folder, by their path in it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._read: dict[str, tuple[tuple[int, int, int], Resource]] = {}

    def get(self, path: str) -> Resource:
        """Raises UnknownResource, InvalidRequest (no path of a card), CardError (a broken one)."""
        file = self._file(path)
        try:
            status = file.stat()
        except OSError as error:
            raise UnknownResource(self._unknown(path)) from error
        if not stat.S_ISREG(status.st_mode):
            raise CardError(f'card "{path}" is not a file')
        mark = (status.st_mtime_ns, status.st_size, status.st_ino)
        known = self._read.get(path)
        if known is not None and known[0] == mark:
            return known[1]
        if status.st_size > CARD_BYTES_MAX:
            raise CardError(f'card "{path}" is larger than {CARD_BYTES_MAX} bytes')
        try:
            raw = file.read_bytes()
        except OSError as error:
            raise CardError(f'card "{path}" cannot be read: {error.strerror}') from error
        resource = parse_card(path, raw)
        self._read[path] = (mark, resource)
        return resource

    def all(self) -> list[Resource | BrokenCard]:
        """Every card, sorted by path."""
        paths = sorted(str(file.relative_to(self._folder).as_posix()) for file in self._folder.rglob("*.md"))
        return [self._one(path) for path in paths[:CARDS_MAX] if not _is_hidden(path)]

    def resolve(self, paths: Sequence[str]) -> list[Resource]:
        """These cards and what they depend on, once each, dependencies before their dependents.

        Raises InvalidRequest (doubled, broken, cyclic, too many), UnknownResource.
        """
        for index, path in enumerate(paths):
            if path in paths[:index]:
                raise _invalid(f"resources[{index}]", f'"{_short(path)}" is named twice: name it once')
        resolved: dict[str, Resource] = {}
        for index, path in enumerate(paths):
            self._add(path, (), resolved, f"resources[{index}]")
        return list(resolved.values())

    def _add(self, path: str, chain: tuple[str, ...], resolved: dict[str, Resource], field: str) -> None:
        if path in resolved:
            return
        if path in chain:
            cycle = " -> ".join([*chain[chain.index(path) :], path])
            raise _invalid(field, f"the dependencies go in a circle: {cycle}")
        if len(chain) > RESOURCES_MAX:
            raise _invalid(field, f"more than {RESOURCES_MAX} dependencies follow from it")
        try:
            resource = self.get(path)
        except CardError as error:
            raise _invalid(field, str(error)) from error
        except UnknownResource as error:
            if not chain:
                raise UnknownResource(error.message, [FieldError(field, error.message)]) from error
            raise _invalid(field, f'"{chain[-1]}" depends on "{_short(path)}": no such card') from error
        except InvalidRequest as error:
            raise _invalid(field, error.message) from error
        for dependency in resource.dependencies:
            self._add(dependency, (*chain, path), resolved, field)
        resolved[path] = resource
        if len(resolved) > RESOURCES_MAX:
            raise _invalid("resources", f"more than {RESOURCES_MAX} resources with their dependencies: split the job")

    def _one(self, path: str) -> Resource | BrokenCard:
        try:
            return self.get(path)
        except (CardError, InvalidRequest, UnknownResource) as error:
            return BrokenCard(path=path, error=str(error))

    def _file(self, path: str) -> Path:
        reason = _wrong_path(path)
        if reason is not None:
            raise InvalidRequest(f'"{_short(path)}" is not the path of a card: {reason}')
        file = self._folder / path
        folder = self._folder.resolve()
        # realpath, because resolve() raises when links go in a circle.
        if not Path(os.path.realpath(file)).is_relative_to(folder):
            raise InvalidRequest(f'"{_short(path)}" is not the path of a card: it leads out of the resource folder')
        return file

    def _unknown(self, path: str) -> str:
        return f'unknown resource "{_short(path)}": no such card under {self._folder.name}/'


def copy_samples(folder: Path) -> int:
    """Make ``folder`` with the sample cards in it; returns how many they are. Raises OSError.

    The copy is made beside it and renamed, so that a start that was cut off leaves no half library.
    """
    packaged = Path(__file__).parent / "sample_cards"
    samples = packaged if packaged.is_dir() else Path(__file__).parents[1] / "resources"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as beside:
        copied = Path(shutil.copytree(samples, Path(beside) / folder.name))
        copied.rename(folder)
    return sum(1 for _ in folder.rglob("*.md"))


def parse_card(path: str, raw: bytes) -> Resource:
    """Raises CardError, which names the card and what is wrong with it."""
    try:
        text = raw.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        raise CardError(f'card "{path}" is not UTF-8: byte {error.start}') from error
    if "\0" in text:
        raise CardError(f'card "{path}" holds a NUL character')
    front, body = _split_front(path, text)
    sections = _Sections(body)
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
    try:
        data = yaml.load(found["front"], _CardLoader)  # noqa: S506 - a SafeLoader without aliases
        _check_plain(data, YAML_DEPTH_MAX)
    except yaml.YAMLError as error:
        mark_ = getattr(error, "problem_mark", None)
        where = f" in line {mark_.line + 2}" if mark_ is not None else ""
        raise CardError(f'card "{path}": the front matter is not YAML{where}: {_problem(error)}') from error
    except (RecursionError, ValueError) as error:
        raise CardError(f'card "{path}": the front matter cannot be read: {error}') from error
    if not isinstance(data, dict):
        raise CardError(f'card "{path}": the front matter must be a list of "key: value" lines')
    # A listed key without a value is a key that is not there.
    given = {key: value for key, value in data.items() if value is not None or key not in FrontMatter.model_fields}
    try:
        return FrontMatter.model_validate(given), text[found.end() :]
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise CardError(f'card "{path}": {where}: {first["msg"].lower().removeprefix("value error, ")}') from error


def _check_plain(value: Any, depth: int) -> None:
    """Raises ValueError for what JSON cannot carry: it would break the list that the card stands in."""
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
    """No aliases: a few of them can unfold to gigabytes."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            event = self.peek_event()  # type: ignore[no-untyped-call]
            raise yaml.constructor.ConstructorError(None, None, "aliases are not allowed", event.start_mark)
        return super().compose_node(parent, index)


# Dates stay the text that they are, so that every value is plain JSON.
_CardLoader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


class _Sections:
    """The description, and the first bash block under the Download heading. A heading inside a block is none, and a
    smaller heading belongs to the section that it stands in."""

    def __init__(self, body: str) -> None:
        self.description = ""
        self.script = ""
        section, level, fence, is_script, found = "", 0, "", False, False
        for line in body.split("\n"):
            marks = _FENCE.match(line)
            if fence:
                if marks is not None and marks["fence"].startswith(fence) and not marks["info"].strip():
                    fence, found, is_script = "", found or is_script, False
                elif is_script:
                    self.script += line + "\n"
                    continue
            elif marks is not None:
                fence = marks["fence"]
                words = marks["info"].split()
                is_script = section == "download" and not found and bool(words) and words[0].lower() == "bash"
            elif (heading := _HEADING.match(line)) is not None:
                title = heading["title"].strip().lower()
                if title in ("download", "description") or len(heading["level"]) <= level:
                    section, level = title, len(heading["level"])
                    continue
            if section == "description":
                self.description += line + "\n"
        if fence and is_script:
            self.script = ""


def _wrong_path(path: str) -> str | None:
    if not path or len(path) > PATH_CHARACTERS_MAX:
        return f"it must have 1 to {PATH_CHARACTERS_MAX} characters"
    if any(ord(character) < 32 or ord(character) == 127 or "\ud800" <= character <= "\udfff" for character in path):
        return "it holds characters that no path of a card may hold"
    if path.startswith("/") or "\\" in path:
        return "it must be relative to the resource folder, with / between its parts"
    if any(part in ("", ".", "..") for part in path.split("/")):
        return "it must not hold empty parts, . or .."
    if _is_hidden(path):
        return "hidden files are no cards"
    if not path.endswith(".md"):
        return "a card is a .md file"
    return None


def _is_hidden(path: str) -> bool:
    return any(part.startswith(".") for part in PurePosixPath(path).parts)


def _invalid(field: str, message: str) -> InvalidRequest:
    return InvalidRequest(message, [FieldError(field, message)])


def _short(path: str) -> str:
    printable = path.encode("utf-8", "backslashreplace").decode("utf-8")
    return printable if len(printable) <= 120 else printable[:117] + "..."


def _problem(error: yaml.YAMLError) -> str:
    return str(getattr(error, "problem", None) or error).partition("\n")[0][:200]
