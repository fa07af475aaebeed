"""Makes foreign text harmless, and formats figures for people. Pure."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Any

from rich.text import Text

# C0 and C1 controls, the escapes that begin with them, and the marks that reverse the direction of text.
_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-Z\\-_])|\x9b[0-?]*[ -/]*[@-~]")
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")
_UNITS = ("B", "kB", "MB", "GB", "TB")
CHARACTERS_MAX = 2_000


def harmless(value: Any) -> str:
    """The value as one bounded line of text that can neither move the cursor nor change a colour."""
    text = _CONTROLS.sub("", _ESCAPES.sub("", str(value).replace("\t", " ")))
    return text if len(text) <= CHARACTERS_MAX else text[:CHARACTERS_MAX] + "…"


def foreign(value: Any, style: str = "") -> Text:
    """The same for rich, which reads square brackets in a plain string as markup."""
    return Text("" if value is None else harmless(value), style=style)


def byte_count(count: float | None) -> str:
    """In decimal units, as the download sites print sizes."""
    if count is None:
        return ""
    unit = 0
    while count >= 999.5 and unit < len(_UNITS) - 1:
        count, unit = count / 1000, unit + 1
    return f"{count:.0f} {_UNITS[unit]}" if unit == 0 or count >= 99.5 else f"{count:.3g} {_UNITS[unit]}"


def speed(rate: float | None) -> str:
    return "" if rate is None else f"{byte_count(rate)}/s"


def duration(seconds: float | None) -> str:
    if seconds is None:
        return ""
    if seconds < 10:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"


def clock(at: str | None) -> str:
    """The local time of day of an RFC 3339 time."""
    return "" if at is None else datetime.fromisoformat(at.replace("Z", "+00:00")).astimezone().strftime("%H:%M:%S")


def day_and_clock(at: str | None) -> str:
    return "" if at is None else datetime.fromisoformat(at.replace("Z", "+00:00")).astimezone().strftime("%d %b %H:%M")


def words(name: str | None) -> str:
    """``auth_required`` as ``auth required``."""
    return "" if name is None else harmless(name).replace("_", " ")
