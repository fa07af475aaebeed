"""curl's meters: a header, then columns that are redrawn; hashes; and the columns of parallel transfers.

curl counts in 1024. The widths of its columns change with its version. Its messages follow on the meter's own line.
"""

from __future__ import annotations

import re

from service.events.event_types import Progress
from service.events.tools.quantities import amount, percent, seconds, whole

BASE = 1024

HEADER = re.compile(r"^(?:% +Total +% +Received +% +Xferd|DL% +UL% +Dled +Uled +Xfers)\b")
SECOND_HEADER = re.compile(r"^Dload +Upload\b")
SPEAKS = re.compile(r"^curl: \(\d{1,3}\) ")
_TIME = r"(?:\d{1,6}:\d\d:\d\d|--:--:--|\d{1,4}d \d\dh|\d{1,3}:\d\d|--:--|\d{1,5}d)"
_SIZE = r"[\d.]{1,12}[kKMGTP]?"
_ROW = re.compile(
    rf"^(?P<percent>\d{{1,3}}) +(?P<total>{_SIZE}) +(?P<received>\d{{1,3}}) +(?P<done>{_SIZE}) +\d{{1,3}} +{_SIZE}"
    rf" +{_SIZE} +{_SIZE} +{_TIME} +(?P<elapsed>{_TIME}) +(?P<left>{_TIME}) +(?P<speed>{_SIZE})"
    r"(?P<rest>(?:curl: \(|Warning: |[*<>{}] ).*)?$"
)
_PARALLEL_ROW = re.compile(
    rf"^(?:(?P<percent>\d{{1,3}})|--) +(?:\d{{1,3}}|--) +(?P<done>{_SIZE}) +{_SIZE} +(?:\d{{1,6}} +){{1,4}}"
    rf"{_TIME} +(?P<elapsed>{_TIME}) +(?P<left>{_TIME}) +(?P<speed>{_SIZE})$"
)
# Before the first hash there is the percentage alone.
_HASHES = re.compile(r"(?:#[# ]{0,400}?)?(?P<percent>\d{1,3})\.\d%")
# Where the size is not known, a small ship travels among the hashes.
_SHIP = re.compile(r"(?!.*(?:==|--))[#O=\- ]{0,400}(?:=[#O]=|=O#|#O=|#O#)[#O=\- ]{0,400}")
_SHIP_CHARACTERS_MAX = 400


def progress(text: str) -> tuple[Progress, str] | None:
    """The progress that a row shows and what follows on its line; None for any other line."""
    found = _ROW.match(text)
    if found is None:
        found = _PARALLEL_ROW.match(text)
        return (_shown(found, None), "") if found is not None else None
    # Where curl does not know the total it prints 0, or what it has so far, of which it then received 0 %.
    is_known = found["total"] != "0" and not (found["total"] == found["done"] and int(found["received"]) == 0)
    return _shown(found, found["total"] if is_known else None), found["rest"] or ""


def hash_bar(text: str) -> Progress | None:
    """``curl --progress-bar``: hashes and a percentage with one decimal."""
    found = _HASHES.fullmatch(text)
    if found is not None:
        return Progress(stage="download", percent=percent(found["percent"]))
    is_ship = len(text) <= _SHIP_CHARACTERS_MAX and _SHIP.fullmatch(text) is not None
    return Progress(stage="download") if is_ship else None


def _shown(found: re.Match[str], total: str | None) -> Progress:
    is_parallel = found.re is _PARALLEL_ROW
    left = found["left"] if not found["left"].startswith("--") else None
    return Progress(
        stage="download",
        percent=percent(found["percent"]) if found["percent"] and (is_parallel or total is not None) else None,
        downloaded=found["done"],
        total=total,
        elapsed=found["elapsed"] if not found["elapsed"].startswith("--") else None,
        remaining=left,
        speed=found["speed"],
        downloaded_bytes=whole(found["done"], BASE),
        total_bytes=whole(total, BASE) if total is not None else None,
        bytes_per_second=amount(found["speed"], BASE),
        eta_seconds=seconds(left),
    )
