"""Whether a download announces more than is free. Pure: a suspicion, which the instance then looks into."""

from __future__ import annotations

from service.events.event_types import Event, Progress

ANNOUNCEMENTS_MAX = 1_000


class Room:
    """``free_bytes``: when the attempt began, None: not known. ``observe`` the events in order."""

    def __init__(self) -> None:
        self.free_bytes: int | None = None
        self.announced_too_much: int | None = None
        self._seen: set[int] = set()

    def observe(self, event: Event) -> None:
        """A length counts once: every further bar of the download repeats it."""
        if self.free_bytes is None or not isinstance(event, Progress) or event.total_bytes is None:
            return
        missing = event.total_bytes - (event.downloaded_bytes or 0)
        if missing <= self.free_bytes or event.total_bytes in self._seen or len(self._seen) >= ANNOUNCEMENTS_MAX:
            return
        self._seen.add(event.total_bytes)
        self.announced_too_much = missing
