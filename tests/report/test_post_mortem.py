"""The post-mortem: its throughput, from events with known times, and its runs of tools."""

from __future__ import annotations

import json

import pytest

from service.events.event_types import (
    Event,
    JobQueued,
    Progress,
    ResourceFailed,
    ResourceStarted,
    RunEnded,
    RunStarted,
)
from service.events.recorded_event import RecordedEvent
from service.report.page import report_page
from service.report.post_mortem import report_of
from service.report.runs import RUNS_MAX
from service.report.throughput import POINTS_MAX

MEGABYTE = 1_000_000
QUEUED = JobQueued(
    ssh_host="h",
    ssh_port=1,
    ssh_user="u",
    ui_home="/c",
    resources=[{"resource": "a.md", "title": "A", "dependencies": []}],
)


def history(*events: tuple[int, Event]) -> list[RecordedEvent]:
    return [
        RecordedEvent(None, "j", sequence, event.type, 1, at_ms, "a.md", 1, None, json.dumps(event.data()))
        for sequence, (at_ms, event) in enumerate(events, 1)
    ]


def told(*figures: tuple[int, int]) -> list[int]:
    """Bytes a second, of a download of which the tool printed these figures at these milliseconds."""
    begun = (0, QUEUED), (0, ResourceStarted(title="A", card_sha256="0" * 64))
    bars = [(at_ms, Progress(stage="model", downloaded_bytes=done)) for at_ms, done in figures]
    rates: list[int] = report_of(history(*begun, *bars))["throughput"]["bytes_per_second"]
    return rates


def test_a_steady_rate_is_steady_however_seldom_the_tool_prints() -> None:
    rates = told(*((at_ms, at_ms * 1_000) for at_ms in range(1_500, 30_001, 1_500)))
    assert rates[:-1] == [MEGABYTE] * 30


def test_silence_is_no_throughput() -> None:
    """What comes after a minute of silence did not arrive in all of it."""
    rates = told((1_000, MEGABYTE), (61_000, 11 * MEGABYTE))
    assert rates[1:51] == [0] * 50
    assert rates[51:61] == [MEGABYTE] * 10


@pytest.mark.parametrize("seconds", [10, 3_600, pytest.param(86_400, marks=pytest.mark.slow)])
def test_all_that_arrived_is_in_it_and_the_points_are_bounded(seconds: int) -> None:
    begun = (0, QUEUED), (0, ResourceStarted(title="A", card_sha256="0" * 64))
    bars = [(n * 1_000, Progress(stage="model", downloaded_bytes=n * 1_000)) for n in range(1, seconds + 1)]
    flow = report_of(history(*begun, *bars))["throughput"]
    assert len(flow["bytes_per_second"]) <= POINTS_MAX + 1
    assert sum(flow["bytes_per_second"]) * flow["step_seconds"] == pytest.approx(seconds * 1_000, rel=0.01)


def test_a_clock_that_was_set_back_loses_nothing() -> None:
    assert sum(told((5_000, 1_000), (2_000, 3_000), (8_000, 4_000))) == pytest.approx(4_000, abs=10)


def test_what_comes_at_once_after_a_link_was_down_is_not_a_burst() -> None:
    """Four seconds of figures in one moment: what they add up to arrived in those four seconds."""
    before = [(at_ms, at_ms * 1_000) for at_ms in range(100, 10_001, 100)]
    at_once = [(14_000 + n, (10_000 + n * 100) * 1_000) for n in range(1, 41)]
    after = [(at_ms, at_ms * 1_000) for at_ms in range(14_300, 20_001, 100)]
    rates = told(*before, *at_once, *after)
    assert max(rates) < 1.2 * MEGABYTE
    assert sum(rates) == pytest.approx(20 * MEGABYTE, rel=0.02)


def test_runs_are_a_table_spans_of_the_timeline_and_evidence() -> None:
    path = "/m/models/x.bin"
    report = report_of(
        history(
            (0, QUEUED),
            (0, ResourceStarted(title="A", card_sha256="0" * 64)),
            (1_000, RunStarted(run=1, tool="wget", destination=path, address="https://h/x.bin")),
            (2_000, RunStarted(run=2, tool="curl", destination="/m/y.bin")),
            (2_500, RunEnded(run=1, exit_code=8, bytes=3, destination=path)),
            (3_000, ResourceFailed(cause="not_found", error="e", hint="h", exit_code=0, seconds=3.0, tail=[])),
        )
    )
    first, second = report["runs"]
    assert first == {
        "resource": "a.md",
        "attempt": 1,
        "run": 1,
        "tool": "wget",
        "file": "x.bin",
        "address": "https://h/x.bin",
        "judged": True,
        "status": 8,
        "bytes": 3,
        "seconds": 1.5,
        "sequence": 3,
    }
    assert (second["status"], second["seconds"]) == (None, None)
    spans = [(span["what"], span["seconds"]) for span in report["timeline"] if span["kind"] == "run"]
    assert spans == [("1: wget x.bin", 1.5), ("2: curl y.bin", 1.0)]
    lines = [evidence["line"] for evidence in report["failures"][0]["evidence"]]
    assert lines == ["wget x.bin: exit status 8", "e"]
    assert "<td>x.bin</td>" in report_page(report)


def test_the_table_of_runs_is_bounded() -> None:
    begun = [(n, RunStarted(run=n, tool="wget", destination=f"/m/{n}")) for n in range(1, 2 * RUNS_MAX)]
    ended = [(n, RunEnded(run=n, exit_code=0)) for n in range(1, 2 * RUNS_MAX)]
    report = report_of(history((0, QUEUED), (0, ResourceStarted(title="A", card_sha256="0")), *begun, *ended))
    assert len(report["runs"]) == RUNS_MAX
