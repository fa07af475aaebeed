"""The fold, its transition table, and the registry of events."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import orjson
import pytest

from service.errors import TransitionRefused
from service.events import event_types as types
from service.events.event_types import Event, UnknownEvent, decode, registered
from service.events.fold import TRANSITIONS, apply, fold
from service.events.job import Job, JobState, ResourceState, Standing
from service.events.recorded_event import RecordedEvent, rfc3339
from tests.events.golden_streams import STREAMS, folded

RESOURCES = [
    {"resource": "a.md", "title": "A", "dependencies": []},
    {"resource": "b.md", "title": "B", "dependencies": ["a.md"]},
]
QUEUED = types.JobQueued(ssh_host="h", ssh_port=22, ssh_user="root", ui_home="/ui", resources=RESOURCES)
ENDED: dict[str, Any] = {"installed": 1, "total": 2, "results": []}
EXAMPLES: dict[str, Event] = {
    event.type: event
    for event in (
        QUEUED,
        types.JobStarted(),
        types.Connecting(reason="refused", text="nobody listens", seconds=1.5, next_seconds=0.5),
        types.ResourceWarned(code="ui_home_missing", text="t", paths=["/opt/ComfyUI"]),
        types.HostKeyAccepted(host_key_sha256="SHA256:x", algorithm="ssh-ed25519"),
        types.ResourceStarted(title="A2", card_sha256="0" * 64),
        types.StageStart(name="x"),
        types.Progress(stage="model", percent=45, downloaded="1M"),
        types.StageComplete(name="x"),
        types.Output(line="hello", cut=True),
        types.RunStarted(run=1, tool="wget", destination="/m/x", address="https://a/x", judged=False),
        types.RunEnded(run=1, exit_code=8, bytes=3, announced_bytes=5, destination="/m/x"),
        types.FileKept(path="/m/x", bytes=5),
        types.ResourceWarned(code="daemon_ended", text="a server was ended"),
        types.FileRemoved(path="loras/x.safetensors", size=5),
        types.LinkLost(reason="gone"),
        types.JobReattached(after_restart=True),
        types.JobTakenOver(replica="gpu-2:5000", replica_id=3),
        types.JobMoved(before="first", place="0000000000005"),
        types.QueuePositionChanged(queue_position=2),
        types.JobPaused(),
        types.JobResumed(),
        types.CancelRequested(),
        types.LimitsChanged(bandwidth_limit=1_000_000),
        types.VerificationStarted(),
        types.ResourceVerified(
            file="m", bytes=1, sha256="0" * 64, held_against="card", result="verified", checked=["size"]
        ),
        types.ResourceStalled(stall_seconds=120),
        types.ResourceRetryScheduled(next_attempt=2, max_attempts=3, delay_seconds=5.0, cause="network"),
        types.ResourceCancelled(exit_code=143, seconds=1.0, partial_files=["x.tmp"]),
        types.ResourceInstalled(exit_code=0, seconds=1.5),
        types.ResourceFailed(
            cause="tls", error="e", hint="h", exit_code=5, seconds=2.0, tail=["t"], partial_files=["x.part"]
        ),
        types.JobCompleted(**ENDED),
        types.JobFailed(error="e", cause="tls", hint="h", partial_files=["x.part"], **ENDED),
        types.JobCancelled(error="e", cause="cancelled", hint="h", partial_files=["x.tmp"], **ENDED),
    )
}


def record(event: Event | UnknownEvent, sequence: int, **changes: Any) -> RecordedEvent:
    values: dict[str, Any] = {
        "position": None,
        "job_id": "j",
        "sequence": sequence,
        "type": event.type,
        "version": event.version,
        "at_ms": 1_000 * sequence,
        "resource": "a.md",
        "attempt": 1,
        "source_offset": None,
        "data_json": json.dumps(event.data()),
    }
    return RecordedEvent(**(values | changes))


def job_in(standing: Standing) -> Job:
    job = apply(None, record(QUEUED, 1), QUEUED)
    started = None if standing in (Standing.QUEUED, Standing.PAUSED_IN_QUEUE) else 1_000
    return job._replace(state=standing.state, started_at_ms=started)


def test_every_registered_event_has_an_example_and_comes_back_as_it_was() -> None:
    assert set(registered()) == {(event.type, event.version) for event in EXAMPLES.values()}
    for event in EXAMPLES.values():
        recorded = record(event, 1)
        assert recorded.event() == event
        assert event.to_dict() == {"type": event.type, **event.data()}


def test_an_unknown_event_is_kept_and_passed_on() -> None:
    event = decode("job_teleported", 3, {"where": "mars"})
    assert isinstance(event, UnknownEvent)
    assert event.to_dict() == {"type": "job_teleported", "where": "mars"}
    job = apply(job_in(Standing.RUNNING), record(event, 2), event)
    assert (job.state, job.last_sequence) == (JobState.RUNNING, 2)
    assert decode("stage_start", 1, {"name": "x", "later": 1}) == types.StageStart(name="x")


@pytest.mark.parametrize("event_type", list(EXAMPLES))
@pytest.mark.parametrize("standing", [None, *Standing])
def test_the_whole_table(standing: Standing | None, event_type: str) -> None:
    event = EXAMPLES[event_type]
    # The log stores the one as the other.
    assert orjson.dumps(event) == orjson.dumps(event.data())
    job = job_in(standing) if standing is not None else None
    assert job is None or job.standing is standing
    recorded = record(event, 1 if job is None else 2)
    expected = TRANSITIONS.get((standing, event_type))
    if expected is None:
        with pytest.raises(TransitionRefused):
            apply(job, recorded, event)
    else:
        assert apply(job, recorded, event).standing is expected


def test_no_event_may_follow_a_terminal_one_or_leave_a_hole() -> None:
    for standing in (Standing.COMPLETED, Standing.FAILED, Standing.CANCELLED):
        assert not [key for key in TRANSITIONS if key[0] is standing]
    with pytest.raises(TransitionRefused):
        apply(job_in(Standing.RUNNING), record(types.LinkLost(reason="x"), 3), types.LinkLost(reason="x"))


def test_the_fold_of_a_job() -> None:
    events = [
        record(QUEUED, 1, resource=None, attempt=None),
        record(EXAMPLES["job_started"], 2),
        record(EXAMPLES["resource_started"], 3),
        record(EXAMPLES["stage_start"], 4, source_offset=10),
        record(EXAMPLES["progress"], 5, source_offset=20),
        record(EXAMPLES["link_lost"], 6),
    ]
    job = fold(events)
    assert job is not None
    a, b = job.resources
    assert (job.state, job.link, job.last_sequence, job.started_at_ms) == (JobState.RUNNING, "reconnecting", 6, 2_000)
    assert (a.state, a.attempt, a.name, a.stage, a.percent, a.source_offset) == (
        ResourceState.RUNNING,
        1,
        "x",
        "model",
        45,
        20,
    )
    assert (b.state, b.number, b.dependencies) == (ResourceState.PENDING, 2, ("a.md",))
    rest = [
        record(EXAMPLES["job_reattached"], 7),
        record(EXAMPLES["resource_installed"], 8),
        record(EXAMPLES["resource_failed"], 9, resource="b.md"),
        record(EXAMPLES["job_failed"], 10),
    ]
    ended = fold([*events, *rest])
    assert ended is not None
    assert (ended.state, ended.link, ended.installed, ended.total, ended.cause) == (JobState.FAILED, None, 1, 2, "tls")
    assert [entry["state"] for entry in ended.results()] == ["installed", "failed"]
    assert ended.to_dict()["ended_at"] == "1970-01-01T00:00:10.000Z"


def test_the_fold_of_controls() -> None:
    def folded(*names: str) -> Job:
        job = fold(
            [record(EXAMPLES[name], n, source_offset=n) for n, name in enumerate(("job_queued", *names), start=1)]
        )
        assert job is not None
        return job

    waiting = folded("queue_position_changed", "job_moved", "limits_changed")
    assert (waiting.queue_position, waiting.place, waiting.bandwidth_limit) == (2, "0000000000005", 1_000_000)
    assert folded("queue_position_changed", "job_started").queue_position is None
    retried = folded("job_started", "resource_started", "resource_failed", "resource_retry_scheduled").resources[0]
    assert (retried.state, retried.attempt, retried.retry_at_ms, retried.cause) == ("pending", 1, 10_000, "tls")
    verifying = folded("job_started", "resource_started", "progress", "verification_started").resources[0]
    assert (verifying.phase, verifying.source_offset, verifying.percent) == ("verify", 0, 45)
    assert folded("job_started", "resource_started", "resource_verified").resources[0].verified == "verified"
    cancelling = folded("job_started", "resource_started", "cancel_requested")
    assert (cancelling.is_cancelling, cancelling.cancel_requested_at_ms) == (True, 4_000)
    cancelled = folded("job_started", "resource_started", "cancel_requested", "job_cancelled")
    assert (cancelled.state, cancelled.is_cancelling, cancelled.cause) == ("cancelled", False, "cancelled")
    assert [resource.state for resource in cancelled.resources] == ["cancelled", "cancelled"]


@pytest.mark.parametrize("stream", STREAMS, ids=[stream["name"] for stream in STREAMS])
def test_golden_streams(stream: dict[str, Any]) -> None:
    """The dashboard's fold is held to the same jobs: dashboard/src/job_model.test.ts."""
    assert folded(stream["events"]).to_dict() == stream["job"]


def test_golden_streams_hold_every_type_of_event() -> None:
    held = {event["type"] for stream in STREAMS for event in stream["events"]}
    assert held > {event_type for event_type, _version in registered()}


def test_one_unverified_file_makes_a_resource_unverified() -> None:
    results = ("verified", "unverified", "verified")
    example = EXAMPLES["resource_verified"]
    assert isinstance(example, types.ResourceVerified)
    verified = [replace(example, result=result) for result in results]
    events = [EXAMPLES["job_queued"], EXAMPLES["job_started"], *verified]
    job = fold([record(event, n) for n, event in enumerate(events, start=1)])
    assert job is not None
    assert job.resources[0].verified == "unverified"


def test_the_flat_form() -> None:
    recorded = record(EXAMPLES["output"], 7, source_offset=3)
    assert list(recorded.to_dict()) == ["type", "job_id", "sequence", "at", "resource", "attempt", "line", "cut"]
    assert record(EXAMPLES["job_started"], 1, resource=None, attempt=None).to_dict() == {
        "type": "job_started",
        "job_id": "j",
        "sequence": 1,
        "at": "1970-01-01T00:00:01.000Z",
    }
    assert rfc3339(1_700_000_000_123) == "2023-11-14T22:13:20.123Z"
