"""Places in a queue: decimal fractions written as text, so that another always fits between two.

A job begins with the place of its number in the table of jobs, as twelve digits. The numbers are unique there, so the
database takes only one of two jobs that are enqueued with the same place at once. A job that is moved gets a place
between its new neighbours, whose own places do not change: one move is one event in one stream, however long the queue
is. Every move stays before the place of the next number, so the next job that is enqueued comes after all others.

A place is read as digits after a decimal point, so that the order of the texts is the order of the places:

    000000000001  <  0000000000014  <  000000000002      (the middle one was moved between the two others)

Between two places there is always another: where the digits leave no gap, one more digit makes it ten times as wide.
The middle of the gap is taken, so that moves to the same spot add a digit only about every third time. Twelve digits
are enough for a million million jobs.
"""

from __future__ import annotations

PLACE_DIGITS = 12


def nth_place(n: int) -> str:
    """The place of the job with the number n."""
    return f"{n:0{PLACE_DIGITS}d}"


def ordinal(place: str) -> int:
    """The greatest n whose place is not after this one. 0 for "" and for a place before the first."""
    return int(place[:PLACE_DIGITS].ljust(PLACE_DIGITS, "0") or "0")


def place_after(last: str) -> str:
    """A place after this one and before that of the next job that is enqueued."""
    return place_between(last, nth_place(ordinal(last) + 1))


def place_between(before: str, after: str) -> str:
    """A place after ``before`` ("" is the very front) and before ``after``, with as few digits as possible."""
    for digits in range(PLACE_DIGITS, max(len(before), len(after)) + 2):
        low = int(before[:digits].ljust(digits, "0") or "0") + 1
        # Where ``after`` has no more digits, its own number is not before it.
        high = int(after[:digits].ljust(digits, "0")) - (not after[digits:].strip("0"))
        if low <= high:
            return str((low + high) // 2).rjust(digits, "0")
    raise ValueError(f"there is nothing between {before!r} and {after!r}")
