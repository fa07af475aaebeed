"""How much a job's stream says of its link: the reason when it is a new one, and never more than an allowance."""

from __future__ import annotations

from collections.abc import Callable

from service.errors import LinkDown, RemoteError

CONNECTING_EVENTS_MAX = 20
# What a job's stream says of its link: so much at once, then one more each time. The rest is counted in the next.
EVENTS_AT_ONCE = 20
EVENT_SECONDS = 180.0
_KEY_REFUSED = "key_refused"


class Outage:
    """A time without a link that is up, and what was tried in it."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._begin = clock()
        self._last_reason: str | None = None
        self._changes = 0
        self.tries = 0
        self.login_tries = 0

    @property
    def seconds(self) -> float:
        return self._clock() - self._begin

    def is_news(self, error: RemoteError) -> bool:
        """Whether the reason is another one than before; an outage has a bound of these."""
        reason, before = reason_of(error), self._last_reason
        self._last_reason = reason
        self._changes += reason != before
        return reason != before and self._changes <= CONNECTING_EVENTS_MAX


class Allowance:
    """The events that may still be said: an instance that answers each connection and drops it must not fill the log.
    What was used grows back, one each ``EVENT_SECONDS``."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._left = float(EVENTS_AT_ONCE)
        self._at = clock()

    def take(self) -> bool:
        now = self._clock()
        self._left = min(EVENTS_AT_ONCE, self._left + (now - self._at) / EVENT_SECONDS)
        self._at = now
        if self._left < 1:
            return False
        self._left -= 1
        return True


def reason_of(error: RemoteError) -> str:
    return error.reason if isinstance(error, LinkDown) else _KEY_REFUSED
