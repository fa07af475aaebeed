"""Rows of the log that a disk, a repair or a hand has damaged.

A damaged event keeps its sequence and is passed on as what it is, ``event_damaged``: a client sees that something is
lost there, and the fold passes over it, as over any event that it does not know. The end of a stream stays its end,
since all who follow the stream wait for it.
"""

from __future__ import annotations

import logging
from typing import Any

import orjson
from sqlalchemy import Row

from service.events.event_types import JobCancelled, JobCompleted, JobFailed
from service.events.field_types import fits
from service.events.recorded_event import RecordedEvent

logger = logging.getLogger(__name__)

DAMAGED = "event_damaged"
TEXT = "this event is damaged in the log"
TYPE_CHARACTERS_MAX = 64

_NOTHING: dict[str, Any] = {"installed": 0, "total": 0, "results": [], "damaged": True}
_FAILED: dict[str, Any] = {"success": False, "error": TEXT, "hint": "", "partial_files": [], **_NOTHING}
_ENDS: dict[str, dict[str, Any]] = {
    JobCompleted.type: {"success": True, **_NOTHING},
    JobFailed.type: {**_FAILED, "cause": "unknown"},
    JobCancelled.type: {**_FAILED, "cause": "cancelled"},
}


def recorded_of(row: Row[Any] | tuple[Any, ...]) -> RecordedEvent:
    """The event that this row of the log holds, or what stands for it."""
    event = RecordedEvent._make(row)
    return event if _is_sound(event) else _stand_in(event)


def _is_sound(event: RecordedEvent) -> bool:
    """Whether it can be passed on as it is. SQLite keeps whatever it is given in a column."""
    try:
        data = orjson.loads(event.data_json)
        return (
            type(data) is dict
            and type(event.data_json) is str
            and type(event.at_ms) is int
            and 0 <= event.at_ms < 1 << 47
            and type(event.type) is str
            and fits(event.type, event.version, data)
            and _is(event.resource, str)
            and _is(event.attempt, int)
        )
    except (TypeError, ValueError):
        return False


def _stand_in(event: RecordedEvent) -> RecordedEvent:
    logger.warning("event %s of job %s is damaged in the log", event.sequence, event.job_id)
    fields = _ENDS.get(event.type) if type(event.type) is str else None
    return event._replace(
        type=DAMAGED if fields is None else event.type,
        version=1,
        at_ms=event.at_ms if type(event.at_ms) is int and 0 <= event.at_ms < 1 << 47 else 0,
        resource=event.resource if _is(event.resource, str) else None,
        attempt=event.attempt if _is(event.attempt, int) else None,
        source_offset=event.source_offset if _is(event.source_offset, int) else None,
        data_json=orjson.dumps(fields or {"damaged": str(event.type)[:TYPE_CHARACTERS_MAX], "text": TEXT}).decode(),
    )


def _is(value: object, kind: type) -> bool:
    return value is None or type(value) is kind
