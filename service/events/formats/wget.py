"""wget's bars, its lines of dots, and the sentences around them. wget counts in 1024."""

from __future__ import annotations

import re
from dataclasses import dataclass

from service.events.event_types import Progress
from service.events.formats.quantities import amount, percent, seconds, whole

BASE = 1024

LENGTH = re.compile(r"Length: (?P<bytes>\d{1,18})(?: \((?P<text>[\d.,]+[KMGT]?)\))?")
UNKNOWN_LENGTH = re.compile(r"Length: unspecified")
SAVING = re.compile(r"Saving to: [‘'\"`“](.+)[’'\"”]$")
SAVED = re.compile(r"\([\d.,]+ [KMGT]?B/s\) - (?:[‘'\"`“](.+)[’'\"”]|written to stdout) saved \[\d+(?:/\d+)?\]$")
THERE = re.compile(r"^File [‘'\"`“](.+)[’'\"”] already there; not retrieving\.$")
_BAR = re.compile(
    r"(?:(?P<percent>\d{1,3})%)? ?\[[ <=>+\-]{2,}\] +(?P<done>[\d.,]+[KMGT]?)"
    r"(?: +(?P<speed>--\.-[KMGT]?B/s|[\d.,]+ ?[KMGT]?B/s))?(?: +(?:eta (?P<eta>.{1,20})|in (?P<elapsed>.{1,20})))?$"
)
_DOTS = re.compile(
    r"^(?P<done>\d{1,15}K) [., ]+?(?: +(?P<percent>\d{1,3})%)? +(?P<speed>[\d.,]+[KMGT]?)"
    r"(?:=(?P<elapsed>\S{1,20})| (?P<eta>\S{1,20}))?$"
)


@dataclass(frozen=True, slots=True)
class Length:
    """The size of the file that comes, in wget's words and in bytes."""

    text: str | None = None
    bytes: int | None = None


def length(text: str) -> Length | None:
    """What a ``Length:`` line says; None for any other line."""
    found = LENGTH.match(text)
    if found is not None:
        return Length(found["text"] or found["bytes"], int(found["bytes"]))
    return Length() if UNKNOWN_LENGTH.match(text) else None


def progress(text: str, total: Length) -> Progress | None:
    """The progress that a bar or a line of dots shows; None for any other line."""
    found = _BAR.search(text) if "[" in text else _DOTS.match(text)
    if found is None:
        return None
    part = found.groupdict()
    speed = part["speed"] if part["speed"] and not part["speed"].startswith("--") else None
    eta = part["eta"].strip() if part["eta"] else None
    return Progress(
        stage="download",
        percent=percent(part["percent"]) if part["percent"] else None,
        downloaded=part["done"],
        total=total.text,
        elapsed=part["elapsed"].strip() if part["elapsed"] else None,
        remaining=eta,
        speed=speed,
        downloaded_bytes=whole(part["done"], BASE),
        total_bytes=total.bytes,
        bytes_per_second=amount(speed, BASE) if speed else None,
        eta_seconds=seconds(eta),
    )


def base_name(path: str) -> str:
    return path.rstrip("/").rpartition("/")[2] or path
