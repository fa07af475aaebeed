"""What people write as the value of a known key, and what they mean by it.

Each function takes a plain value of the front matter, which is not null, and raises Unreadable, which says what to
write instead.
"""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Any

from service.errors import CardError

BYTES_LIMIT = 10**15
TITLE_CHARACTERS_MAX = 500

_SIZE_CHARACTERS_MAX = 64
_SIZE = re.compile(
    r"(?:about|approx\.?|ca\.?|[~≈])?\s*(?P<number>[0-9][0-9.,_ ]*?)\s*(?P<unit>[a-z]*)\.?(?:\s*\(.*\))?",
    re.ASCII | re.IGNORECASE,
)
_UNITS = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4}
_YES = frozenset({"true", "yes", "on", "1"})
_NO = frozenset({"false", "no", "off", "0"})
_NOTHING = frozenset({"nothing", "none"}) | (_NO - {"0"})


class Unreadable(CardError):
    """The message says what the value must be."""


def text(value: Any) -> str:
    """One line; of a list its texts with commas between them."""
    if isinstance(value, dict):
        raise Unreadable("must be one line of text")
    line = " ".join((", ".join(texts(value)) if isinstance(value, list) else _written(value)).split())
    if any(ord(character) < 32 or ord(character) == 127 for character in line):
        raise Unreadable("must be one line of text")
    return line


def title(value: Any) -> str:
    line = text(value)
    if not 1 <= len(line) <= TITLE_CHARACTERS_MAX:
        raise Unreadable(f"must be one line of text with 1 to {TITLE_CHARACTERS_MAX} characters")
    return line


def first(value: Any) -> str | None:
    """Of a list its first text: two addresses in one line are none."""
    found = texts(value if isinstance(value, list) else [value])
    return found[0] if found else None


def texts(value: Any) -> list[str]:
    """Of a text its parts between commas; of a list its texts and those of the lists in it."""
    if isinstance(value, dict):
        raise Unreadable("must be a list of texts")
    if not isinstance(value, list):
        return [part for entry in _written(value).split(",") if (part := text(entry))]
    found: list[str] = []
    for entry in value:
        if isinstance(entry, list):
            found += texts(entry)
        elif entry is not None and (part := text(entry)):
            found.append(part)
    return found


def version(value: Any) -> str | int | float:
    return value if isinstance(value, int | float) and not isinstance(value, bool) else text(value)


def size(value: Any) -> int:
    """In bytes: "6.5GB" is 6,500,000,000, "6.5 GiB" is 6,979,321,856."""
    found = value[0] if isinstance(value, list) and len(value) == 1 else value
    size_bytes = found if isinstance(found, int) and not isinstance(found, bool) else _size(found)
    if not 0 <= size_bytes < BYTES_LIMIT:
        raise Unreadable("must be a number of bytes below 10^15")
    return size_bytes


def _size(value: Any) -> int:
    written = text(value)
    match = _SIZE.fullmatch(written) if len(written) <= _SIZE_CHARACTERS_MAX else None
    unit = match["unit"].lower() if match is not None else ""
    letter = unit.removesuffix("bytes").removesuffix("byte").removesuffix("b").removesuffix("i")
    number = _decimal(match["number"], is_bytes=letter == "") if match is not None and letter in _UNITS else None
    if number is None:
        raise Unreadable('must be a number of bytes, or a size like "6.5GB"')
    kilo = 1024 if unit.endswith("ib") else 1000
    return int(number * kilo ** _UNITS[letter])


def _decimal(written: str, *, is_bytes: bool) -> Decimal | None:
    """Commas, points, spaces and underscores may group the digits by three. Where a single mark could be both ("6,900
    GB", "1.234"), it is the decimal point, and bytes have none; only "6,900" bytes are grouped."""
    marks = [character for character in written if character in ".,_ "]
    point = marks[-1] if len(set(marks)) == 2 or (len(marks) == 1 and not (is_bytes and marks[0] == ",")) else ""
    whole, _, fraction = written.rpartition(point) if point in (".", ",") else (written, "", "")
    is_grouped = re.fullmatch(r"[0-9]{1,3}(?:[.,_ ][0-9]{3})+", whole) is not None
    if (is_bytes and fraction) or not (is_grouped or whole.isdigit()) or not (fraction or "0").isdigit():
        return None
    return Decimal(re.sub(r"[.,_ ]", "", whole) + "." + (fraction or "0"))


def switch(value: Any) -> bool:
    word = text(value).lower()
    if word not in _YES | _NO:
        raise Unreadable("must be true or false")
    return word in _YES


def nothing(value: Any) -> str:
    """The only thing that a card can say: that it leaves no file below ``$UI_HOME``."""
    if text(value).lower() not in _NOTHING:
        raise Unreadable('must be "nothing", or left out')
    return "nothing"


def sha256(value: Any) -> str:
    digest = text(value).lower().removeprefix("sha256:").strip()
    if not re.fullmatch(r"[0-9a-f]{64}", digest):
        raise Unreadable("must be 64 hexadecimal digits; leave it out if you do not know it")
    return digest


def files(value: Any) -> list[Any]:
    """Of one path or map a list; a path alone names a file without its hash."""
    entries = value if isinstance(value, list) else [value]
    return [_file(entry) if isinstance(entry, dict) else {"path": _below_home(text(entry))} for entry in entries]


def _file(entry: dict[str, Any]) -> dict[str, Any]:
    found = {key: value for key, value in entry.items() if value is not None}
    if "path" in found:
        found["path"] = _below_home(text(found["path"]))
    if "sha256" in found:
        found["sha256"] = sha256(found["sha256"])
    if isinstance(found.get("size"), str) and found["size"].isascii() and found["size"].isdigit():
        found["size"] = int(found["size"][:20])
    return found


def _below_home(path: str) -> str:
    for prefix in ("$UI_HOME/", "${UI_HOME}/", "./"):
        path = path.removeprefix(prefix)
    return path


def _written(value: Any) -> str:
    """A number or a boolean as the card has it (see front_matter.py: it is one only if JSON writes it the same)."""
    return str(value).lower() if isinstance(value, bool) else str(value)
