"""What receivers are told: which events, and in which words. Pure but for the statement that it hands to the writer."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from service.events import event_types as types
from service.events.causes import Cause
from service.events.job import Job, ResourceState
from service.events.recorded_event import RecordedEvent, rfc3339
from service.store.append import Append
from service.store.database import Work
from service.store.deliveries import Notice, write_notices

# A job may have thousands of resources, and each of them may have failed.
FAILED_MAX = 20
TEXT_CHARACTERS_MAX = 500
_ENDS = {
    types.JobCompleted.type: "completed",
    types.JobFailed.type: "failed",
    types.JobCancelled.type: "cancelled",
}
_TOLD = frozenset({*_ENDS, types.ResourceStalled.type, types.ResourceFailed.type})
_MS = 1000

Price = Callable[[Job], float | None]


def no_price(_job: Job) -> float | None:
    return None


class Outbox:
    """``price``: what an hour of the job's instance costs, in dollars; None where nobody knows.

    Call it with the appends of a commit, on the writer's thread: its work belongs to their transaction.
    """

    def __init__(self, price: Price = no_price) -> None:
        self._price = price

    def __call__(self, appends: Sequence[Append]) -> Work | None:
        notices = [notice for append in appends if is_told(append) for notice in notices_of(append, self._price)]
        return partial(_write, notices=notices) if notices else None


def _write(connection: Any, notices: Sequence[Notice]) -> None:
    write_notices(connection, notices)


def is_told(append: Append) -> bool:
    """Whether it may hold something to tell. Asked of every append, so it costs little."""
    return any(event.type in _TOLD for event in append.events)


def notices_of(append: Append, price: Price = no_price) -> list[Notice]:
    """What this append tells. Of an instance that is lost the first failed resource tells."""
    job, found, was_lost = append.after, [], _is_lost(append.before)
    for event in append.events:
        kind = _kind_of(event)
        if kind is None or (kind == "instance_lost" and was_lost):
            continue
        was_lost = was_lost or kind == "instance_lost"
        body = _body(kind, job, event, price(job))
        found.append(Notice(job.job_id, event.sequence, kind, event.at_ms, body))
    return found


def _kind_of(event: RecordedEvent) -> str | None:
    if event.type not in _TOLD:
        return None
    if event.type == types.ResourceFailed.type:
        return "instance_lost" if _fields(event).get("cause") == Cause.INSTANCE_LOST.value else None
    return _ENDS.get(event.type, "stalled")


def _is_lost(job: Job | None) -> bool:
    return job is not None and any(resource.cause == Cause.INSTANCE_LOST.value for resource in job.resources)


def _fields(event: RecordedEvent) -> dict[str, Any]:
    found = json.loads(event.data_json)
    assert isinstance(found, dict)
    return found


def _body(kind: str, job: Job, event: RecordedEvent, dollars_an_hour: float | None) -> str:
    failed = [resource for resource in job.resources if resource.state is ResourceState.FAILED]
    fields = _fields(event)
    data = {
        "job_id": job.job_id,
        "state": job.state.value,
        "instance": job.instance,
        "host": job.ssh_host,
        "port": job.ssh_port,
        "ui_home": job.ui_home,
        "sequence": event.sequence,
        "resource": event.resource,
        "total": job.total,
        "installed": job.installed,
        "failed": len(failed),
        "failures": [
            {"resource": each.resource, "cause": each.cause, "error": _short(each.error)}
            for each in failed[:FAILED_MAX]
        ],
        "cause": job.cause or fields.get("cause"),
        "error": _short(job.error or fields.get("error")),
        "created_at": _time(job.created_at_ms),
        "started_at": _time(job.started_at_ms),
        "ended_at": _time(job.ended_at_ms),
        "cost": _cost(job, event.at_ms, dollars_an_hour),
        "retry_of": job.retry_of,
    }
    told = {"type": f"job.{kind}", "timestamp": rfc3339(event.at_ms), "data": data}
    return json.dumps(told, ensure_ascii=False, separators=(",", ":"))


def _cost(job: Job, at_ms: int, dollars_an_hour: float | None) -> dict[str, Any] | None:
    if dollars_an_hour is None or job.started_at_ms is None:
        return None
    hours = max(0, at_ms - job.started_at_ms) / (3600 * _MS)
    return {"amount": round(dollars_an_hour * hours, 4), "currency": "USD"}


def _short(text: Any) -> str | None:
    if not isinstance(text, str):
        return None
    return text if len(text) <= TEXT_CHARACTERS_MAX else text[: TEXT_CHARACTERS_MAX - 1] + "…"


def _time(at_ms: int | None) -> str | None:
    return rfc3339(at_ms) if at_ms is not None else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """What one receiver is sent. ``message_id``: the same at every try; ``body``: JSON."""

    message_id: str
    body: str

    def title(self) -> str:
        """One line for a person."""
        told = json.loads(self.body)
        return f"{_TITLES.get(told['type'], told['type'])}: {told['data'].get('instance', '')}".removesuffix(": ")

    def text(self) -> str:
        """A few lines for a person."""
        data = json.loads(self.body)["data"]
        if "job_id" not in data:
            return str(data.get("text", ""))
        lines = [f"{data['installed']} of {data['total']} installed"]
        if data["error"]:
            lines.append(f"{data['cause'] or 'error'}: {data['error']}")
        if data["cost"]:
            lines.append(f"cost so far: {data['cost']['amount']:.2f} {data['cost']['currency']}")
        return "\n".join([*lines, f"job {data['job_id']}"])


_TITLES = {
    "job.completed": "Install completed",
    "job.failed": "Install failed",
    "job.cancelled": "Install cancelled",
    "job.stalled": "Download stalled",
    "job.instance_lost": "Instance lost",
    "test": "Resource installer: a test",
}


def test_message(message_id: str, at_ms: int) -> Message:
    """What the test of a receiver sends."""
    data = {"text": "This is a test: the receiver can be reached."}
    told = {"type": "test", "timestamp": rfc3339(at_ms), "data": data}
    return Message(message_id=message_id, body=json.dumps(told))
