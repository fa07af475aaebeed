"""When another attempt is worth it, and how long to wait for it. Pure.

Only transient causes are tried again (`events/causes.py` says which and why): what only a person can fix never is.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from service.events.causes import CAUSES, Cause

RETRY_AFTER_SECONDS_MAX = 3600.0

_HTTP_DATE = r"[A-Z][a-z]{2}, \d{2} [A-Z][a-z]{2} \d{4} [\d:]{8} GMT"
_RETRY_AFTER = re.compile(
    rf"retry[-_ ]after[:=]?\s*(?:(?P<seconds>\d{{1,9}})(?:\.\d+)?\b|(?P<date>{_HTTP_DATE}))", re.IGNORECASE
)


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryRules:
    """The wait starts at ``first_seconds`` and doubles up to ``most_seconds``."""

    first_seconds: float = 5.0
    most_seconds: float = 300.0


def delay_seconds(
    rules: RetryRules,
    *,
    attempt: int,
    max_attempts: int,
    cause: Cause,
    retry_after_seconds: float | None,
    chance: float,
) -> float | None:
    """How long to wait before the attempt after this one; None: there is none.

    ``chance``, from 0 to 1, spreads the waits of many jobs over 50–100 % of the wait. A Retry-After
    that the site sent is waited for in full, with the spread on top.
    """
    if attempt >= max_attempts or not CAUSES[cause].is_transient:
        return None
    wait = min(rules.most_seconds, rules.first_seconds * 2.0 ** min(attempt - 1, 30))
    if retry_after_seconds is not None:
        return min(RETRY_AFTER_SECONDS_MAX, retry_after_seconds) + rules.first_seconds * chance / 2
    return wait * (0.5 + chance / 2)


def retry_after_seconds(lines: Sequence[str], now: datetime) -> float | None:
    """The last Retry-After that a tool printed: seconds, or a date as HTTP writes it."""
    for line in reversed(lines):
        found = _RETRY_AFTER.search(line)
        if found is None:
            continue
        if found["seconds"] is not None:
            return float(found["seconds"])
        try:
            at = parsedate_to_datetime(found["date"])
        except ValueError:
            continue
        return max(0.0, (at.astimezone(UTC) - now).total_seconds())
    return None
