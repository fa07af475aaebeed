"""When another attempt is worth it, and how long to wait for it. Pure.

A cause can heal when time or another connection may cure it; what only a person can cure is never tried again.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from service.events.event_types import Cause

RETRY_AFTER_SECONDS_MAX = 3600.0

# Why each of them can heal.
HEALS: dict[Cause, str] = {
    Cause.NETWORK: "connections break and come back",
    Cause.DNS: "resolvers time out under load",
    Cause.SERVER_ERROR: "sites recover",
    Cause.RATE_LIMITED: "the site says itself that later is fine",
    Cause.NO_SUCCESS_MARK: "the tool ended in the middle",
    Cause.KILLED: "what ran short of memory may have it the next time",
    Cause.STALLED: "a connection that hung is made anew",
    Cause.INSTANCE_LOST: "the instance was restarted under the download, and answers again",
}

_HTTP_DATE = r"[A-Z][a-z]{2}, \d{2} [A-Z][a-z]{2} \d{4} [\d:]{8} GMT"
_RETRY_AFTER = re.compile(
    rf"retry[-_ ]after[:=]?\s*(?:(?P<seconds>\d{{1,9}})(?:\.\d+)?\b|(?P<date>{_HTTP_DATE}))", re.IGNORECASE
)


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryRules:
    """The wait doubles from ``first_seconds`` on, up to ``most_seconds``."""

    first_seconds: float = 5.0
    most_seconds: float = 300.0


def may_heal(cause: Cause) -> bool:
    """Whether another attempt can end otherwise without anybody doing anything."""
    return cause in HEALS


def delay_seconds(
    rules: RetryRules,
    *,
    attempt: int,
    max_attempts: int,
    cause: Cause,
    retry_after_seconds: float | None,
    chance: float,
) -> float | None:
    """How long to wait for the attempt behind this one; None: there is none.

    ``chance``, from 0 to 1, spreads the waits of many jobs between the half and the whole. A Retry-After that the site
    sent is always waited for, with the spread on top.
    """
    if attempt >= max_attempts or not may_heal(cause):
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
