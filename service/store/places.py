"""Places in a queue: decimal fractions written as text, so that there is always room for one more between two.

A new job takes the next whole place; a job that is moved takes one between its new neighbours, whose own places do not
change: one move is one event. Text order is the order of the places.
"""

from __future__ import annotations

PLACE_DIGITS = 12


def whole_place(number: int) -> str:
    """The place of the n-th job that was ever enqueued."""
    return f"{number:0{PLACE_DIGITS}d}"


def place_between(before: str, after: str) -> str:
    """A place behind ``before`` ("" is the very front) and in front of ``after``, with as few digits as will do."""
    for digits in range(PLACE_DIGITS, max(len(before), len(after)) + 2):
        low = int(before[:digits].ljust(digits, "0") or "0") + 1
        high = int(after[:digits].ljust(digits, "0")) - (not after[digits:].strip("0"))
        if low <= high:
            return str((low + high) // 2).rjust(digits, "0")
    raise ValueError(f"there is nothing between {before!r} and {after!r}")


def number_of(place: str) -> int:
    """The whole place in front of which, or at which, this one stands."""
    return int(place[:PLACE_DIGITS].ljust(PLACE_DIGITS, "0") or "0")
