"""Numbers as tools print them. What is absurd (not finite, negative, beyond any disk) is None."""

from __future__ import annotations

import re
from functools import lru_cache

# Fifteen digits: what every client and every column can hold exactly.
BYTES_MAX = 10**15 - 1
SECONDS_MAX = 366 * 86_400

NUMBER = r"\d{1,15}+(?:\.\d{1,6}+)?+"
_AMOUNT = re.compile(rf"({NUMBER})(?![\d.,]) ?([kKMGTPE]?)")
_CLOCK = re.compile(r"(?:(\d{1,5}+)(?: days?,|d) )?+(?:(\d{1,5}+):)?(\d{1,5}+):(\d{1,2})")
_UNITS = re.compile(r"(?:(\d{1,5})d ?)?(?:(\d{1,5})h ?)?(?:(\d{1,5})m ?)?(?:(\d{1,9}(?:\.\d{1,3})?)s)?")
_POWERS = {"": 0, "k": 1, "K": 1, "M": 2, "G": 3, "T": 4, "P": 5, "E": 6}
_FACTORS = {base: {unit: float(base) ** power for unit, power in _POWERS.items()} for base in (1000, 1024)}


# Ten bars a second print the same clock, the same total and many of the same amounts again and again.
_remembered = lru_cache(maxsize=2048)


def _amount(text: str, base: int) -> float | None:
    found = _AMOUNT.match(text) or _AMOUNT.match(text.strip().replace(",", "."))
    if found is None:
        return None
    number, unit = found.groups()
    value = float(number) * _FACTORS[base][unit]
    return value if value <= BYTES_MAX else None


@_remembered
def amount(text: str, base: int) -> float | None:
    """The number in ``3.65M``, ``593,94K`` or ``2.8MiB``; ``base`` is 1000 or 1024."""
    return _amount(text, base)


@_remembered
def byte_count(text: str, base: int) -> int | None:
    """The same amount, in whole bytes."""
    value = _amount(text, base)
    return None if value is None else round(value)


def bytes_of(number: str, prefix: str, base: int) -> int | None:
    """``byte_count`` of a ``NUMBER`` and its prefix, where a pattern has told them apart already."""
    value = float(number) * _FACTORS[base][prefix]
    return round(value) if value <= BYTES_MAX else None


@_remembered
def percent(text: str) -> int | None:
    """An integer from 0 to 100."""
    digits = text.strip().partition(".")[0]
    return min(100, int(digits)) if digits.isascii() and digits.isdigit() and len(digits) < 10 else None


@_remembered
def seconds(text: str | None) -> float | None:
    """The seconds in ``00:04``, ``1:02:03``, ``2 days, 1:02:03``, ``1d 02:03:04``, ``5m 3s`` or ``1.5s``."""
    if text is None:
        return None
    text = text.strip()
    found = (_CLOCK if ":" in text else _UNITS).fullmatch(text)
    if found is None or not text:
        return None
    days, hours, minutes, rest = found.groups("0")
    value = int(days) * 86_400 + int(hours) * 3_600 + int(minutes) * 60 + float(rest)
    return value if value <= SECONDS_MAX else None
