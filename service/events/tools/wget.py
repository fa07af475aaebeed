"""wget's bars, its lines of dots, and the sentences around them. wget counts in 1024."""

from __future__ import annotations

import re
from dataclasses import dataclass

from service.events.event_types import Progress
from service.events.tools.quantities import amount, percent, seconds, whole

BASE = 1024

LENGTH = re.compile(r"Length: (?P<bytes>\d{1,18})(?: \((?P<text>[\d.,]+[KMGT]?)\))?")
UNKNOWN_LENGTH = re.compile(r"Length: unspecified")
# What begins at the first byte of a line costs linear time, however hostile the line is.
_DATE = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d"
SPEAKS = re.compile(rf"^(?:--{_DATE}--  |wget: )")
SAVING = re.compile(r"^Saving to: [‘'\"`“](.+)[’'\"”]$")
SAVED = re.compile(
    rf"^{_DATE} \([\d.,]{{1,12}} [KMGT]?B/s\) - (?:[‘'\"`“](.+)[’'\"”]|written to stdout) saved \[\d+(?:/\d+)?\]$"
)
_BAR = re.compile(
    r"(?:(?P<percent>\d{1,3})%)? ?\[[ <=>+\-]{2,}\] +(?P<done>[\d.,]{1,20}[KMGT]?)"
    r"(?: +(?P<speed>--\.-[KMGT]?B/s|[\d.,]{1,20} ?[KMGT]?B/s))?"
    r"(?: +(?:eta (?P<eta>[\w. ]{1,20})|in (?P<elapsed>[\w. ]{1,20})))?$"
)
_DOTS = re.compile(
    r"^(?P<done>\d{1,15}K) [., ]{10,}+(?:(?P<percent>\d{1,3})% ++)?+(?P<speed>[\d.,]{1,20}[KMGT]?)"
    r"(?: ?=(?P<elapsed>[\w.]{1,20})| (?P<eta>[\w.]{1,20}))?$"
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
