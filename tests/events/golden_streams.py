"""Streams and the job that each of them adds up to: the service's fold and the dashboard's must both agree with it.

``tests/golden_streams.json`` is a list of ``{"name", "events", "job"}``: events as clients get them, and the job as
``GET /resources/jobs/{id}`` shows it. Run as a module, this writes the jobs anew; read the difference before you commit
it.
"""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Any

from service.events.fold import fold
from service.events.job import Job
from service.events.recorded_event import RecordedEvent

PATH = Path(__file__).parents[1] / "golden_streams.json"
STREAMS: list[dict[str, Any]] = json.loads(PATH.read_text(encoding="utf-8"))
_HEAD = ("type", "job_id", "sequence", "at", "resource", "attempt")


def folded(events: list[dict[str, Any]]) -> Job:
    job = fold(map(_recorded, events), thinned=True)
    assert job is not None
    return job


def _recorded(event: dict[str, Any]) -> RecordedEvent:
    return RecordedEvent(
        position=None,
        job_id=event["job_id"],
        sequence=event["sequence"],
        type=event["type"],
        version=1,
        at_ms=round(datetime.fromisoformat(event["at"]).timestamp() * 1000),
        resource=event.get("resource"),
        attempt=event.get("attempt"),
        source_offset=None,
        data_json=json.dumps({name: value for name, value in event.items() if name not in _HEAD}),
    )


def write() -> None:
    PATH.write_text("[\n" + ",\n".join(map(_text, STREAMS)) + "\n]\n", encoding="utf-8")


def _text(stream: dict[str, Any]) -> str:
    """One line for each event and each resource, so that a difference can be read."""
    job = folded(stream["events"]).to_dict()
    resources = job.pop("resources")
    summary = _line(job).removesuffix("}")
    return (
        f' {{\n  "name": {_line(stream["name"])},\n  "events": [\n{_lines(stream["events"])}\n  ],\n'
        f'  "job": {summary}, "resources": [\n{_lines(resources)}\n  ]}}\n }}'
    )


def _lines(items: list[Any]) -> str:
    return ",\n".join(f"   {_line(item)}" for item in items)


def _line(item: Any) -> str:
    return json.dumps(item, ensure_ascii=False)


if __name__ == "__main__":
    write()
