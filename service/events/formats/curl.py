"""curl's meter: a header, then twelve columns that are redrawn. curl counts in 1024. Widths change with its version."""

from __future__ import annotations

import re

from service.events.event_types import Progress
from service.events.formats.quantities import amount, percent, seconds, whole

BASE = 1024

HEADER = re.compile(r"^% +Total +% +Received +% +Xferd\b")
SECOND_HEADER = re.compile(r"^Dload +Upload\b")
_TIME = r"(?:\d{1,6}:\d\d:\d\d|--:--:--|\d{1,4}d \d\dh|\d{1,3}:\d\d|--:--|\d{1,5}d)"
_ROW = re.compile(
    r"^(?P<percent>\d{1,3}) +(?P<total>[\d.]+[kKMGTP]?) +\d{1,3} +(?P<done>[\d.]+[kKMGTP]?) +\d{1,3} +[\d.]+[kKMGTP]?"
    rf" +(?P<average>[\d.]+[kKMGTP]?) +[\d.]+[kKMGTP]? +{_TIME} +(?P<elapsed>{_TIME}) +(?P<left>{_TIME})"
    r" +(?P<speed>[\d.]+[kKMGTP]?)$"
)
_HASHES = re.compile(r"^[#O=\- ]{0,400}?(?P<percent>\d{1,3})(?:\.\d)?%$")


def progress(text: str) -> Progress | None:
    """The progress that a row shows; None for any other line."""
    found = _ROW.match(text)
    if found is None:
        return None
    # curl prints 0 where it does not know the total; the percent beside it says nothing then.
    known = found["total"] != "0"
    left = found["left"] if not found["left"].startswith("--") else None
    return Progress(
        stage="download",
        percent=percent(found["percent"]) if known else None,
        downloaded=found["done"],
        total=found["total"] if known else None,
        elapsed=found["elapsed"] if not found["elapsed"].startswith("--") else None,
        remaining=left,
        speed=found["speed"],
        downloaded_bytes=whole(found["done"], BASE),
        total_bytes=whole(found["total"], BASE) if known else None,
        bytes_per_second=amount(found["speed"], BASE),
        eta_seconds=seconds(left),
    )


def hash_bar(text: str) -> Progress | None:
    """``curl --progress-bar``: hashes and a percentage with one decimal."""
    found = _HASHES.match(text) if text.startswith("#") else None
    return Progress(stage="download", percent=percent(found["percent"])) if found is not None else None
