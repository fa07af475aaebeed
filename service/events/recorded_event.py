"""An event before and after it is in the log, and its one JSON form."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, NamedTuple

from service.events.event_types import Event, UnknownEvent, decode


class NewEvent(NamedTuple):
    """An event on its way to the log: a tuple, which is made in a third of a data class's time.

    ``source_offset``: the offset in the attempt's log on the instance after the record that the event came from, in
    bytes; None for events that the service makes itself.
    """

    event: Event
    resource: str | None = None
    attempt: int | None = None
    source_offset: int | None = None

    def recorded(self, job_id: str, sequence: int, at_ms: int, fields_json: str) -> RecordedEvent:
        """This event at its place in the log. ``fields_json``: see RecordedEvent."""
        event, resource, attempt, offset = self
        # By place: by name it would cost twice as much.
        return RecordedEvent(
            None, job_id, sequence, event.type, event.version, at_ms, resource, attempt, offset, fields_json
        )


class RecordedEvent(NamedTuple):
    """An event as the log holds it: a tuple, because a history is made of many.

    ``sequence`` counts 1..n within the job, ``position`` over the whole log. ``at_ms``: milliseconds since the epoch,
    when it was appended. ``data_json``: the fields of its type as one JSON object.
    """

    position: int | None
    job_id: str
    sequence: int
    type: str
    version: int
    at_ms: int
    resource: str | None
    attempt: int | None
    source_offset: int | None
    data_json: str

    def event(self) -> Event | UnknownEvent:
        return decode(self.type, self.version, json.loads(self.data_json))

    def to_json(self) -> str:
        """The flat object that every client gets, spliced from the stored text: nothing is decoded only to be sent."""
        head = f'{{"type":{_quote(self.type)},"job_id":"{self.job_id}","sequence":{self.sequence},"at":"{self.at}"'
        if self.resource is not None:
            head += f',"resource":{_quote(self.resource)}'
        if self.attempt is not None:
            head += f',"attempt":{self.attempt}'
        return head + "}" if self.data_json == "{}" else f"{head},{self.data_json[1:]}"

    def to_dict(self) -> dict[str, Any]:
        form: dict[str, Any] = json.loads(self.to_json())
        return form

    @property
    def at(self) -> str:
        return rfc3339(self.at_ms)


def skipped_ranges(found: Sequence[RecordedEvent], after: int, upto: int) -> list[list[int]]:
    """The sequences between ``after`` and ``upto`` that are not among these events, as [first, last] pairs."""
    ranges, expected = [], after + 1
    for event in found:
        if event.sequence > expected:
            ranges.append([expected, event.sequence - 1])
        expected = event.sequence + 1
    return [*ranges, [expected, upto]] if expected <= upto else ranges


def rfc3339(at_ms: int) -> str:
    """UTC with milliseconds: ``2026-01-31T23:59:59.123Z``."""
    return f"{_second(at_ms // 1000)}.{at_ms % 1000:03d}Z"


@lru_cache(maxsize=256)
def _second(at_seconds: int) -> str:
    return f"{datetime.fromtimestamp(at_seconds, UTC):%Y-%m-%dT%H:%M:%S}"


@lru_cache(maxsize=1024)
def _quote(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
