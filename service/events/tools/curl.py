"""curl's meters: a header, then columns that are redrawn; hashes; and the columns of parallel transfers.

curl counts in 1024. The widths of its columns change with its version. Its messages follow on the meter's own line.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import ClassVar

from service.events.bounds import STAGE_EVENTS_MAX
from service.events.causes import Cause
from service.events.event_types import Event, Output, Progress, StageComplete, StageStart
from service.events.tools.protocol import MORE, NOT_MINE, Answer, Context, Tool
from service.events.tools.quantities import amount, byte_count, percent, seconds

BASE = 1024

_HEADER = re.compile(r"^(?:% +Total +% +Received +% +Xferd|DL% +UL% +Dled +Uled +Xfers)\b")
_SECOND_HEADER = re.compile(r"^Dload +Upload\b")
_SPEAKS = re.compile(r"^curl: \(\d{1,3}\) ")
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


class Curl(Tool):
    """curl says neither a name nor that a file is complete, except by its exit status. Its columns are numbers only,
    so they count after its header alone."""

    name = "curl"
    commands = ("curl",)
    exit_causes: ClassVar[Mapping[int, Cause]] = {
        **dict.fromkeys((5, 6), Cause.DNS),
        **dict.fromkeys((7, 18, 28, 52, 55, 56, 92), Cause.NETWORK),
        **dict.fromkeys((35, 51, 58, 60, 77), Cause.TLS),
        23: Cause.PERMISSION,
        67: Cause.AUTH_REQUIRED,
        78: Cause.NOT_FOUND,
    }

    def __init__(self, context: Context) -> None:
        self._context = context
        self._names: dict[str, None] = {}

    def bar(self, text: str) -> Answer:
        if self._names and (row := _row(text)) is not None:
            shown, rest = row[0], self._context.redact(row[1])
            return [shown, Output(line=rest)] if rest else [shown]
        hashes = _hash_bar(text)
        if hashes is None:
            return NOT_MINE
        return [hashes] if self._names else [*self._begin(), hashes]

    def line(self, text: str, output: Output) -> Answer:
        if _HEADER.match(text):
            return self._begin()
        if self._names and _SECOND_HEADER.match(text):
            return MORE
        return [output] if _SPEAKS.match(text) else NOT_MINE

    def completed(self) -> Sequence[Event]:
        return [StageComplete(name=name) for name in self._names]

    def _begin(self) -> list[Event]:
        name = self._context.name_for(self.name)
        if len(self._names) < STAGE_EVENTS_MAX:
            self._names[name] = None
        return [StageStart(name=name)]


def _row(text: str) -> tuple[Progress, str] | None:
    """The progress that a row shows and what follows on its line; None for any other line."""
    found = _ROW.match(text)
    if found is None:
        found = _PARALLEL_ROW.match(text)
        return (_progress(found, None), "") if found is not None else None
    # Where curl does not know the total it prints 0, or what it has so far, of which it then received 0 %.
    is_known = found["total"] != "0" and not (found["total"] == found["done"] and int(found["received"]) == 0)
    return _progress(found, found["total"] if is_known else None), found["rest"] or ""


def _hash_bar(text: str) -> Progress | None:
    """``curl --progress-bar``: hashes and a percentage with one decimal."""
    found = _HASHES.fullmatch(text)
    if found is not None:
        return Progress(stage="download", percent=percent(found["percent"]))
    is_ship = len(text) <= _SHIP_CHARACTERS_MAX and _SHIP.fullmatch(text) is not None
    return Progress(stage="download") if is_ship else None


def _progress(found: re.Match[str], total: str | None) -> Progress:
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
        downloaded_bytes=byte_count(found["done"], BASE),
        total_bytes=byte_count(total, BASE) if total is not None else None,
        bytes_per_second=amount(found["speed"], BASE),
        eta_seconds=seconds(left),
    )
