"""When another attempt is worth it, and how long to wait for it."""

from __future__ import annotations

import random
from datetime import UTC, datetime

import pytest

from service.events.causes import CAUSES, Cause
from service.runner.retry import RetryRules, delay_seconds, retry_after_seconds

NOW = datetime(2026, 1, 31, 12, 0, 0, tzinfo=UTC)
RULES = RetryRules(first_seconds=4.0, most_seconds=60.0)


def delay(attempt: int, cause: Cause = Cause.NETWORK, after: float | None = None, chance: float = 1.0) -> float | None:
    return delay_seconds(RULES, attempt=attempt, max_attempts=10, cause=cause, retry_after_seconds=after, chance=chance)


def test_what_only_a_person_can_fix_is_never_tried_again() -> None:
    for cause in (
        Cause.AUTH_REQUIRED,
        Cause.FORBIDDEN,
        Cause.NOT_FOUND,
        Cause.DISK_FULL,
        Cause.PERMISSION,
        Cause.TOOL_MISSING,
        Cause.SSH_AUTH,
        Cause.HOST_KEY_CHANGED,
        Cause.DEPENDENCY_FAILED,
        Cause.VERIFICATION_FAILED,
        Cause.CANCELLED,
        Cause.UNKNOWN,
    ):
        assert not CAUSES[cause].is_transient
        assert delay(1, cause) is None


def test_the_wait_doubles_up_to_a_bound() -> None:
    assert [delay(attempt) for attempt in range(1, 7)] == [4, 8, 16, 32, 60, 60]
    assert delay(9) == 60
    assert delay(10) is None


def test_the_spread_lies_between_the_half_and_the_whole() -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    waits = [delay(2, chance=chance.random()) or 0.0 for _ in range(500)]
    assert min(waits) >= 4
    assert max(waits) < 8
    assert max(waits) - min(waits) > 2


def test_a_retry_after_is_waited_for() -> None:
    assert delay(1, Cause.RATE_LIMITED, after=120, chance=0.0) == 120
    assert 120 < (delay(1, Cause.RATE_LIMITED, after=120, chance=0.9) or 0) < 123
    assert delay(1, Cause.RATE_LIMITED, after=10**9, chance=0.0) == 3600
    assert delay(1, Cause.NOT_FOUND, after=1) is None


@pytest.mark.parametrize(
    ("lines", "seconds"),
    [
        (["  Retry-After: 120"], 120),
        (["< retry-after: 30", "bye"], 30),
        (["429: Too Many Requests. Retry after 7 seconds"], 7),
        (["Retry-After: 5", "Retry-After: 9"], 9),
        (["Retry-After: Sat, 31 Jan 2026 12:01:40 GMT"], 100),
        (["Retry-After: Sat, 31 Jan 2026 11:00:00 GMT"], 0),
        (["Retry-After: Xxx, 99 Yyy 2026 99:99:99 GMT"], None),
        (["Retry-After: soon"], None),
        (["Retrying to download the current model..."], None),
        ([], None),
    ],
)
def test_what_tools_print(lines: list[str], seconds: float | None) -> None:
    assert retry_after_seconds(lines, NOW) == seconds
