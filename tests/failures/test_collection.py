"""The labelled collection: the verdict on each failure compared with the truth."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import orjson
import pytest

from service.events import event_types as types
from service.events.causes import CAUSES
from service.events.event_types import Event
from service.events.parser import ProgressParser
from service.events.recorded_event import NewEvent, RecordedEvent
from service.report.post_mortem import report_of
from service.runner.instance.ended import Ended
from service.runner.outcome import Outcome, judge

FOLDER = Path(__file__).parent / "logs"
LABELS: dict[str, dict[str, Any]] = json.loads((Path(__file__).parent / "labels.json").read_text(encoding="utf-8"))


def judged(name: str) -> tuple[Outcome, list[NewEvent], tuple[str, ...]]:
    label = LABELS[name]
    parser = ProgressParser(resource="a.md", attempt=1, title="A")
    events = parser.feed((FOLDER / f"{name}.log").read_bytes()) + parser.close(label["exit_code"])
    evidence = parser.evidence
    return judge(evidence, Ended(exit_code=label["exit_code"])), events, evidence.tail


def test_the_collection_is_whole() -> None:
    assert len(LABELS) >= 60
    assert {path.stem for path in FOLDER.glob("*.log")} == set(LABELS)


def test_the_score() -> None:
    wrong = {}
    for name, label in LABELS.items():
        outcome, _, _ = judged(name)
        if outcome.installed or str(outcome.cause) != label["cause"]:
            wrong[name] = f"{outcome.cause} instead of {label['cause']}: {outcome.error}"
    score = 1 - len(wrong) / len(LABELS)
    print(f"{len(LABELS)} failures, {100 * score:.1f} % with the right cause")
    for name, text in wrong.items():
        print(name, text)
    assert score >= 0.95, wrong


@pytest.mark.parametrize("name", sorted(LABELS))
def test_no_failure_passes_for_a_success_or_promises_a_retry_in_vain(name: str) -> None:
    outcome, _, _ = judged(name)
    assert not outcome.installed
    assert outcome.cause is not None
    assert not (CAUSES[outcome.cause].is_transient and not LABELS[name]["heals"]), outcome


@pytest.mark.parametrize("name", sorted(LABELS))
def test_every_piece_of_evidence_is_in_the_log(name: str) -> None:
    outcome, events, tail = judged(name)
    failed = types.ResourceFailed(
        cause=str(outcome.cause),
        error=outcome.error or "",
        hint=outcome.hint or "",
        exit_code=outcome.exit_code,
        seconds=1.0,
        tail=list(tail),
    )
    entry = {"resource": "a.md", "title": "A", "dependencies": []}
    queued = types.JobQueued(ssh_host="h", ssh_port=22, ssh_user="root", ui_home="/ui", resources=[entry])
    begun = [queued, types.JobStarted(), types.ResourceStarted(title="A", card_sha256="0" * 64)]
    stream: list[tuple[Event, int | None]] = [(event, None) for event in begun]
    stream += [(new.event, new.source_offset) for new in events] + [(failed, None)]
    history = [
        RecordedEvent(
            position=None,
            job_id="j",
            sequence=sequence,
            type=event.type,
            version=1,
            at_ms=sequence,
            resource="a.md",
            attempt=1,
            source_offset=offset,
            data_json=orjson.dumps(event.data()).decode(),
        )
        for sequence, (event, offset) in enumerate(stream, start=1)
    ]
    (failure,) = report_of(history)["failures"]
    by_sequence = {event.sequence: event for event in history}
    assert failure["evidence"]
    for piece in failure["evidence"]:
        event = by_sequence[piece["sequence"]]
        data = orjson.loads(event.data_json)
        assert piece["line"] == data.get("line", data.get("error"))
        assert piece["source_offset"] == event.source_offset
