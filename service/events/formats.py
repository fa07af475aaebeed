"""The format of streams: which events a service can read, as one number, so that replicas of different versions agree.

A new type or version of an event raises the number (``Event.since``). Replicas say theirs to each other; until each of
them can read an event, it is written as an earlier one, or left out. A job remembers the newest format in its stream,
and only a service that can read that format runs it.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

from service.events.event_types import class_of, registered
from service.events.recorded_event import NewEvent

FIRST_FORMAT = 1


@cache
def newest_format() -> int:
    """The newest format that this version of the service reads and writes."""
    classes = (class_of(*key) for key in registered())
    return max(cls.since for cls in classes if cls is not None)


def readable(new: Sequence[NewEvent], upto: int) -> Sequence[NewEvent]:
    """These events for whoever reads no format after ``upto``: a newer one as the earlier one that stands for it, or
    not at all."""
    for each in new:
        if each.event.since > upto:
            break
    else:
        return new
    told = []
    for each in new:
        event = each.event
        while event.since > upto and (earlier := event.earlier()) is not None:
            event = earlier
        if event.since <= upto:
            told.append(each._replace(event=event))
    return told
