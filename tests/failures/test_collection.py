"""The labelled collection: the verdict on each failure compared with the truth."""

from __future__ import annotations

import dataclasses
import json
import re
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
from tests.failures.labels import label_of
from tests.failures.written import WRITTEN

FOLDER = Path(__file__).parent / "logs"
LABELS: dict[str, dict[str, Any]] = json.loads((Path(__file__).parent / "labels.json").read_text(encoding="utf-8"))


def judged(name: str) -> tuple[Outcome, list[NewEvent], tuple[str, ...]]:
    label = LABELS[name]
    parser = ProgressParser(resource="a.md", attempt=1, title="A")
    events = parser.feed((FOLDER / f"{name}.log").read_bytes()) + parser.close(label["exit_code"])
    # A quiet tool is known from the ledger of runs.
    evidence = dataclasses.replace(parser.evidence, tool=label.get("tool", parser.evidence.tool))
    return judge(evidence, Ended(exit_code=label["exit_code"])), events, evidence.tail


def right_causes(name: str) -> list[str]:
    """Several where the log cannot tell them apart."""
    cause = LABELS[name]["cause"]
    return cause if isinstance(cause, list) else [cause]


def test_the_collection_is_whole() -> None:
    assert len(LABELS) >= 140
    assert {path.stem for path in FOLDER.glob("*.log")} == set(LABELS)
    written = {told.name for told in WRITTEN}
    assert {name for name, label in LABELS.items() if label.get("written")} == written
    assert len(written) <= len(LABELS) / 2
    sure = [name for name in LABELS if len(right_causes(name)) == 1]
    assert len(sure) >= 0.85 * len(LABELS)


def test_what_is_written_is_as_it_was_written() -> None:
    for told in WRITTEN:
        assert (FOLDER / f"{told.name}.log").read_bytes().decode() == told.text
        assert LABELS[told.name] == label_of(told, told.exit_code)


def test_no_log_names_a_machine() -> None:
    for path in FOLDER.glob("*.log"):
        found = re.search(rb"/tmp/|/work/|/root\b|pypi|/home/\w+", path.read_bytes())
        assert found is None, (path.name, found)


def test_the_score() -> None:
    wrong = {}
    for name in LABELS:
        outcome, _, _ = judged(name)
        if outcome.installed or str(outcome.cause) not in right_causes(name):
            wrong[name] = f"{outcome.cause} instead of {LABELS[name]['cause']}: {outcome.error}"
    score = 1 - len(wrong) / len(LABELS)
    print(f"{len(LABELS)} failures, {100 * score:.1f} % with the right cause")
    for name, text in wrong.items():
        print(name, text)
    assert score >= 0.97, wrong


@pytest.mark.parametrize("name", [name for name, label in LABELS.items() if "error" in label or "hint" in label])
def test_the_error_explains_and_the_hint_fits(name: str) -> None:
    outcome, _, _ = judged(name)
    assert LABELS[name].get("error", "") in (outcome.error or "")
    assert LABELS[name].get("hint", "") in (outcome.hint or "")


@pytest.mark.parametrize("name", sorted(LABELS))
def test_the_error_is_never_a_bar_a_banner_or_a_warning_about_something_else(name: str) -> None:
    outcome, _, _ = judged(name)
    assert outcome.error is not None
    words = outcome.error.partition(": ")[2] or outcome.error
    assert re.search(r"[A-Za-z]{3}", words)
    assert not re.match(r"[#=*-]{3}|\d+%|InsecureRequest|WARNING: The cert|Usage|File \"", words), outcome.error


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
