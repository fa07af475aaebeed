"""tqdm's bars, as civitdl and many Python tools draw them.

A bar is complete at its closing bracket: ``Model:  45%|####5     | 3.65M/8.12M [00:03<00:04, 60.9MiB/s]``. The bracket
is looked at first, since it is short and of one form; only then what stands before it. tqdm counts in thousands, also
where it prints ``MiB``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from service.events.event_types import Progress
from service.events.lines import plain
from service.events.tools.quantities import amount, percent, seconds, whole

BRACKET_BYTES_MAX = 300
BAR_BYTES_MAX = 1024  # as wide as a terminal may be, three bytes a column
BASE = 1000
LABEL_CHARACTERS_MAX = 300
SPACE = ord(" ")
DIGITS = b"0123456789"
STAGES = ("images", "model", "cache")

_TIME = r"(?:\d{1,5} days?, )?\d[\d:]{1,12}"
_BRACKET = re.compile(
    rf"\[(?P<elapsed>{_TIME})(?:<(?P<remaining>\?|{_TIME}))?, {{0,8}}".encode()
    + rb"(?P<speed>-?(?:[\d.]{1,20}|\?)[ !-+\--/:-Z\\^-~]{0,20})(?:, [^\]]*)?\]"
)
_AMOUNT = r"[\d.]{1,20}\w{0,3}"
_KNOWN = re.compile(rf"(?P<percent>\d{{1,9}})%(?:\|[^|]*\|)? *(?P<done>{_AMOUNT})/(?P<total>{_AMOUNT})$")
_UNKNOWN = re.compile(r"(?:^|: ?)(?P<done>[\d.]{1,20}[kKMGTPE]?(?:i?B|it|[A-Za-z]{0,12}))$")
_STAGE = re.compile(r"(?:^|[^\w])(images|model|cache)\s*:?$", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Bar:
    """A bar, and the text that stood before it on its line and does not belong to it. ``label``: what a bar that is
    none of civitdl's calls itself."""

    progress: Progress
    before: str
    label: str = ""


def closes(line: bytearray) -> Bar | None:
    """The bar that ends with this line's last byte, which is a ``]``."""
    begin = line.rfind(b"[", max(0, len(line) - BRACKET_BYTES_MAX))
    # Cheap looks first: a line of nothing but brackets must not cost more than other lines.
    if begin < 1 or line[begin - 1] != SPACE or line[begin + 1] not in DIGITS:
        return None
    bracket = _BRACKET.fullmatch(line, begin)
    if bracket is None:
        return None
    near = plain(bytes(line[max(0, begin - BAR_BYTES_MAX) : begin]))
    found = _KNOWN.search(near) or _UNKNOWN.search(near[-64:])
    if found is None:
        return None
    clock = {name: text.decode("ascii") if text is not None else None for name, text in bracket.groupdict().items()}
    left = plain(bytes(line[:begin]))
    label = left[: len(left) - (len(found.string) - found.start())].rstrip()
    before, stage = _stage(label)
    own_label = label.rpartition("\n")[2].strip() if stage == "download" else ""
    return Bar(_progress(stage, found.groupdict(), clock), before, own_label[-LABEL_CHARACTERS_MAX:])


def _stage(label: str) -> tuple[str, str]:
    """The text before the label, and the stage that the label names."""
    found = _STAGE.search(label)
    if found is None:
        return "", "download"
    return label[: found.start(1)].strip(), found[1].lower()


def _progress(stage: str, counts: dict[str, str], clock: dict[str, str | None]) -> Progress:
    speed = clock["speed"] or ""
    is_bytes = stage != "images" and speed.rstrip().endswith(("B/s", "s/iB", "s/B"))
    total = counts.get("total")
    return Progress(
        stage=stage,
        percent=percent(counts["percent"]) if "percent" in counts else None,
        downloaded=counts["done"],
        total=total,
        elapsed=clock["elapsed"],
        remaining=_known(clock["remaining"]),
        speed=_known(speed.strip()),
        downloaded_bytes=whole(counts["done"], BASE) if is_bytes else None,
        total_bytes=whole(total, BASE) if is_bytes and total is not None else None,
        bytes_per_second=_rate(speed.strip()) if is_bytes else None,
        eta_seconds=seconds(_known(clock["remaining"])),
    )


def _known(text: str | None) -> str | None:
    return None if text is None or text.startswith("?") else text


def _rate(speed: str) -> float | None:
    value = amount(speed, BASE)
    if value is None or "B/s" in speed:
        return value
    return 1 / value if value else None
