"""What lies in the models folder of an instance, from what its script printed. Pure, and linear in what came."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from service.errors import RemoteProtocolError

FILES_MAX = 20_000
ANSWER_BYTES_MAX = 16 << 20
LINES_MAX = 20_100
PATH_BYTES_MAX = 4_096
MODEL_SUFFIXES = (".safetensors", ".sft", ".ckpt", ".pt", ".pth", ".bin", ".gguf", ".onnx")
HALF_SUFFIXES = (".part", ".part.old", ".aria2", ".tmp", ".incomplete", ".crdownload")

Kind = Literal["model", "half", "text", "empty", "broken_link", "other"]

_DISK = re.compile(rb"disk (\d{1,15}) (\d{1,15})")
_CARD = re.compile(rb"card \./([0-9a-f]{32}) ([A-Za-z0-9+/=]{1,8000}) (\d{1,15})")
_FILE = re.compile(rb"([a-zA-Z])\t(\d{1,18})\t(-?\d{1,12})(?:\.\d*)?\t(.+)", re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Disk:
    """Bytes."""

    total: int
    free: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFile:
    """``path``: below models/. ``modified``: seconds since the epoch. ``card``: the name under which the instance
    remembers the card that left it. ``has_plain_name``: its name is text, so that it can be named in a request."""

    path: str
    size: int
    modified: int
    kind: Kind
    card: str | None = None
    has_plain_name: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Inventory:
    """``is_missing``: there is no folder models. ``is_cut``: there are more files than these."""

    files: tuple[ModelFile, ...] = ()
    disk: Disk | None = None
    is_missing: bool = False
    is_cut: bool = False


def read_disk(line: bytes) -> Disk | None:
    found = _DISK.fullmatch(line)
    return Disk(total=int(found[1]) * 1024, free=int(found[2]) * 1024) if found is not None else None


def read_inventory(said: bytes, ui_home: str) -> Inventory:
    """``said``: all that came after the nonce. Raises RemoteProtocolError."""
    disk: Disk | None = None
    cards: dict[str, tuple[str, int]] = {}
    begin = 0
    for _ in range(LINES_MAX):
        end = said.find(b"\n", begin)
        if end < 0:
            break
        line, begin = said[begin:end], end + 1
        disk = read_disk(line) or disk
        if line == b"models missing":
            return Inventory(disk=disk, is_missing=True)
        if line == b"models untold":
            raise RemoteProtocolError("the instance's find cannot list files: install GNU findutils on it")
        if line == b"models":
            files = list(_files(said[begin:].split(b"\0", 2 * FILES_MAX + 4), cards))
            return Inventory(files=tuple(files[:FILES_MAX]), disk=disk, is_cut=len(files) > FILES_MAX)
        card = _CARD.fullmatch(line)
        if card is not None:
            _note_card(cards, card, ui_home)
    raise RemoteProtocolError("the instance did not say what lies in its models folder")


def _note_card(cards: dict[str, tuple[str, int]], card: re.Match[bytes], ui_home: str) -> None:
    try:
        path = base64.b64decode(card[2], validate=True).decode("utf-8", "replace")
    except binascii.Error:
        return
    inside = f"{ui_home.rstrip('/')}/models/"
    if path.startswith(inside):
        cards[path.removeprefix(inside)] = (card[1].decode(), int(card[3]))


def _files(records: list[bytes], cards: dict[str, tuple[str, int]]) -> Iterator[ModelFile]:
    empty = records.index(b"") if b"" in records else len(records)
    texts = {record.removeprefix(b"./") for record in records[:empty]}
    found = [match for record in records[empty + 1 :] if (match := _FILE.fullmatch(record)) is not None]
    names = {match[4] for match in found}
    for match in found:
        raw = match[4]
        if len(raw) > PATH_BYTES_MAX:
            continue
        path, size = raw.decode("utf-8", "replace"), int(match[2])
        card, card_size = cards.get(path, (None, 0))
        yield ModelFile(
            path=path,
            size=size,
            modified=int(match[3]),
            kind=_kind(match, is_text=raw in texts, has_control_file=raw + b".aria2" in names),
            card=card if card_size == size else None,
            has_plain_name=path.encode("utf-8") == raw,
        )


def _kind(match: re.Match[bytes], *, is_text: bool, has_control_file: bool) -> Kind:
    name = match[4].rpartition(b"/")[2].lower()
    if match[1] == b"l":
        return "broken_link"
    if has_control_file or name.endswith(tuple(_encoded(HALF_SUFFIXES))):
        return "half"
    if not name.endswith(tuple(_encoded(MODEL_SUFFIXES))):
        return "other"
    if is_text:
        return "text"
    return "model" if int(match[2]) else "empty"


def _encoded(suffixes: Iterable[str]) -> list[bytes]:
    return [suffix.encode() for suffix in suffixes]
