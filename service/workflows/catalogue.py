"""A catalogue of models in the form of ComfyUI-Manager's ``model-list.json``, from a file or an address.

It is read when somebody asks for that, and kept in memory: nothing is fetched by itself.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from service.errors import OutboundError
from service.outbound import Outbound

BYTES_MAX = 8 << 20
ENTRIES_MAX = 10_000
_TEXT_CHARACTERS_MAX = 300
_URL_CHARACTERS_MAX = 2_000
_FOLDER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*(?:/[A-Za-z0-9_][A-Za-z0-9_.-]*){0,3}")
# The folder of what the catalogue saves in its default place, by its type.
_OF_TYPE = {
    "checkpoint": "checkpoints",
    "checkpoints": "checkpoints",
    "lora": "loras",
    "vae": "vae",
    "taesd": "vae_approx",
    "clip": "text_encoders",
    "clip_vision": "clip_vision",
    "controlnet": "controlnet",
    "t2i-adapter": "controlnet",
    "upscale": "upscale_models",
    "embedding": "embeddings",
    "unet": "diffusion_models",
    "diffusion_model": "diffusion_models",
    "gligen": "gligen",
    "unclip": "checkpoints",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One model. ``folder``: below models/, None where the catalogue names none that is there. ``size``: as it says."""

    name: str
    filename: str
    url: str
    folder: str | None
    type: str | None
    base: str | None
    size: str | None


class Catalogue:
    """``source``: an address, or the path of a file on this machine. ``clock_ms``: since the epoch."""

    def __init__(
        self, outbound: Outbound, source: str, *, clock_ms: Callable[[], int] = lambda: int(time.time() * 1000)
    ) -> None:
        self._outbound = outbound
        self.source = source
        self._clock_ms = clock_ms
        self.refreshed_at_ms: int | None = None
        self.entries: tuple[Entry, ...] = ()
        self._by_filename: dict[str, Entry] = {}

    def of_file(self, filename: str) -> Entry | None:
        return self._by_filename.get(filename.casefold())

    def search(self, words: str, limit: int) -> list[Entry]:
        """The entries in which all words stand."""
        wanted = words.casefold().split()[:20]
        fitting = (entry for entry in self.entries if all(word in _text_of(entry) for word in wanted))
        return [entry for entry, _ in zip(fitting, range(limit), strict=False)]

    async def refresh(self) -> None:
        """Read it anew. What was there stays if that fails. Raises AddressRefused, OutboundError."""
        raw = await self._read()
        entries = await asyncio.to_thread(_entries, raw)
        self.entries = tuple(entries)
        self._by_filename = {entry.filename.casefold(): entry for entry in reversed(entries)}
        self.refreshed_at_ms = self._clock_ms()

    async def _read(self) -> bytes:
        if "://" in self.source:
            answer = await self._outbound.fetch(self.source, bytes_max=BYTES_MAX)
            if answer.status != 200:
                raise OutboundError(
                    f"the catalogue's site answered with the status {answer.status}: check INSTALLER_CATALOGUE"
                )
            return answer.body
        try:
            return await asyncio.to_thread(_read_file, Path(self.source))
        except OSError as error:
            raise OutboundError(
                f"the catalogue {self.source} cannot be read ({error.strerror}): check INSTALLER_CATALOGUE"
            ) from error


def _read_file(path: Path) -> bytes:
    with open(path, "rb") as file:
        raw = file.read(BYTES_MAX + 1)
    if len(raw) > BYTES_MAX:
        raise OutboundError(f"the catalogue {path} has more than {BYTES_MAX} bytes")
    return raw


def _entries(raw: bytes) -> list[Entry]:
    try:
        given = orjson.loads(raw)
    except ValueError as error:
        raise OutboundError("the catalogue is not JSON: check INSTALLER_CATALOGUE") from error
    models = given.get("models") if isinstance(given, dict) else None
    if not isinstance(models, list):
        raise OutboundError(
            'the catalogue has no list "models": it must be like the model-list.json of ComfyUI-Manager'
        )
    return [entry for each in models[:ENTRIES_MAX] if isinstance(each, dict) and (entry := _entry(each)) is not None]


def _entry(given: dict[str, Any]) -> Entry | None:
    url, filename = given.get("url"), _line(given.get("filename"))
    if filename is None or "/" in filename or not isinstance(url, str) or len(url) > _URL_CHARACTERS_MAX:
        return None
    if not url.startswith(("https://", "http://")) or not url.isprintable():
        return None
    kind = _line(given.get("type"))
    return Entry(
        name=_line(given.get("name")) or filename,
        filename=filename,
        url=url,
        folder=_folder(given.get("save_path"), kind),
        type=kind,
        base=_line(given.get("base")),
        size=_line(given.get("size")),
    )


def _folder(save_path: Any, kind: str | None) -> str | None:
    """Below models/; other places (custom_nodes/…) are none of ours."""
    if save_path == "default":
        return _OF_TYPE.get((kind or "").casefold())
    if not isinstance(save_path, str) or not _FOLDER.fullmatch(save_path):
        return None
    return None if save_path.startswith("custom_nodes") else save_path


def _line(value: Any) -> str | None:
    if not isinstance(value, str):
        return None
    plain = "".join(mark if mark.isprintable() else " " for mark in value[: _TEXT_CHARACTERS_MAX * 2])
    return " ".join(plain.split())[:_TEXT_CHARACTERS_MAX] or None


def _text_of(entry: Entry) -> str:
    return " ".join(filter(None, (entry.name, entry.filename, entry.type, entry.base, entry.folder))).casefold()
