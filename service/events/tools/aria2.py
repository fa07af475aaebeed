"""aria2c's readout, complete at its closing bracket, and its notices. aria2c counts in 1024."""

from __future__ import annotations

import re
from dataclasses import dataclass

from service.events.event_types import Progress
from service.events.lines import plain
from service.events.tools.quantities import amount, percent, seconds, whole

BASE = 1024
READOUT_BYTES_MAX = 300

SPEAKS = re.compile(r"^\d\d/\d\d \d\d:\d\d:\d\d \[(?:NOTICE|ERROR)\] ")
COMPLETE = re.compile(r"\[NOTICE\] Download complete: (.+)$")
# What frames a readout in the summary that aria2c prints where there is no terminal.
SUMMARY = re.compile(r"^\*\*\* Download Progress Summary as of .{1,60} \*\*\*$")
IN_SUMMARY = re.compile(r"^(?:=+|FILE: .*)$")
SUMMARY_ENDS = re.compile(r"^-+$")
_SIZE = r"[\d.]{1,20}(?:[KMGT]i)?B"
_READOUT = re.compile(
    rf"\[#(?P<gid>[0-9a-f]{{6,16}}) (?P<done>{_SIZE})/(?P<total>{_SIZE})(?:\((?P<percent>\d{{1,3}})%\))?"
    r"(?: CN:\d{1,5})?(?: SD:\d{1,5})?"
    rf"(?: DL:(?P<speed>{_SIZE}))?(?: UL:\S{{1,20}})?(?: ETA:(?P<eta>\w{{1,20}}))?\]"
)


@dataclass(frozen=True, slots=True)
class Readout:
    """One readout of the download that aria2c calls ``gid``."""

    gid: str
    progress: Progress


def closes(line: bytearray) -> Readout | None:
    """The readout that ends with this line's last byte, which is a ``]``."""
    near = max(0, len(line) - READOUT_BYTES_MAX)
    if line.rfind(b"#", near) < 0:
        return None
    # On a terminal there are colours between the bracket and what follows it.
    text = plain(bytes(line[near:]))
    begin = text.rfind("[#")
    found = _READOUT.fullmatch(text, begin) if begin >= 0 else None
    if found is None:
        return None
    total = whole(found["total"], BASE)
    return Readout(
        found["gid"],
        Progress(
            stage="download",
            percent=percent(found["percent"]) if found["percent"] else None,
            downloaded=found["done"],
            total=found["total"] if total else None,
            elapsed=None,
            remaining=found["eta"],
            speed=f"{found['speed']}/s" if found["speed"] else None,
            downloaded_bytes=whole(found["done"], BASE),
            total_bytes=total or None,
            bytes_per_second=amount(found["speed"], BASE) if found["speed"] else None,
            eta_seconds=seconds(found["eta"]),
        ),
    )
