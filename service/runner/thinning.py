"""Which bars are left out while the service is late.

At more bars than the service can keep up with, it would fall behind without a bound. So from a second of delay on, of
the bars that wait in one read only the last of each resource and stage is appended, and says how many it stands for.
Nothing but bars is ever left out, and none at the end of a stage. All events of a read go into one append: either the
bar that stays is stored, and with it the number, or the bars are read again. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from service.events.event_types import Output, Progress
from service.events.recorded_event import NewEvent

# From the receipt of a chunk to the commit of its events.
DELAY_SECONDS_MAX = 1.0


class Thinner:
    """``add`` the events of one read in order, then take what is left of them. It holds no more than that."""

    def __init__(self) -> None:
        self._kept: dict[int, NewEvent] = {}
        self._count = 0
        # The bar that stays so far, and how many it stands for, by resource, attempt and stage.
        self._last: dict[tuple[str | None, int | None, str], tuple[int, int]] = {}

    def add(self, events: Iterable[NewEvent]) -> None:
        for new in events:
            if isinstance(new.event, Progress):
                self._add_bar(new, new.event)
            else:
                self._keep(new)
                if not isinstance(new.event, Output):
                    # A stage or a run begins or ends: the last bar before it stays.
                    self._last.clear()

    def events(self) -> list[NewEvent]:
        """In the order in which they were added."""
        return list(self._kept.values())

    def _add_bar(self, new: NewEvent, bar: Progress) -> None:
        key = (new.resource, new.attempt, bar.stage)
        at, left_out = self._last.get(key, (None, 0))
        if at is not None:
            del self._kept[at]
            left_out += 1
        self._last[key] = (self._count, left_out)
        self._keep(new._replace(event=replace(bar, left_out=left_out)) if left_out else new)

    def _keep(self, new: NewEvent) -> None:
        self._kept[self._count] = new
        self._count += 1
