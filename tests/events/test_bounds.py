"""Floods: what an attempt may add to the log is bounded, and so is what the parser holds in memory."""

from __future__ import annotations

import tracemalloc

import pytest

from service.events.bounds import (
    OMITTED,
    OUTPUT_LINES_MAX,
    PROGRESS_EVENTS_FULL,
    PROGRESS_EVENTS_STEP,
    STAGE_EVENTS_MAX,
)
from service.events.event_types import Output, StageStart
from service.events.ledger import ERROR_LINES_MAX, TAIL_LINE_CHARACTERS_MAX, TAIL_LINES
from service.events.lines import LINE_BYTES_MAX, LOOKAHEAD_BYTES, LineSplitter
from service.events.parser import ProgressParser

MEMORY_BYTES_MAX = 4 << 20
BAR = b"\r 45%|##| 4/9 [00:03<00:04, 1B/s]"


@pytest.mark.slow
def test_bars_of_an_hour_are_kept_whole_and_a_flood_thins_out_by_halves() -> None:
    parser = ProgressParser()
    assert len(parser.feed(BAR * PROGRESS_EVENTS_FULL)) == PROGRESS_EVENTS_FULL
    for stride in (2, 4, 8):
        assert len(parser.feed(BAR * (PROGRESS_EVENTS_STEP * stride))) == PROGRESS_EVENTS_STEP
    assert len(parser.feed(BAR * 1_600)) == 100


@pytest.mark.slow
def test_thinning_depends_on_the_bytes_alone() -> None:
    raw = BAR * (PROGRESS_EVENTS_FULL + 5_000)
    whole, pieces = ProgressParser(), ProgressParser()
    kept = whole.feed(raw)
    assert [new for at in range(0, len(raw), 4_097) for new in pieces.feed(raw[at : at + 4_097])] == kept
    stored = kept[-1_000].source_offset
    assert stored is not None
    again = [new for new in ProgressParser().feed(raw) if new.source_offset is not None and new.source_offset > stored]
    assert again == kept[-999:]


def test_lines_are_bounded_and_the_tail_is_still_kept() -> None:
    parser = ProgressParser()
    count = OUTPUT_LINES_MAX + 1_000
    events = parser.feed(b"".join(b"line %d\n" % n for n in range(count)))
    assert len(events) == OUTPUT_LINES_MAX
    assert events[-1].event == Output(line=OMITTED)
    assert events[-2].event == Output(line=f"line {OUTPUT_LINES_MAX - 2}")
    assert parser.evidence.tail == tuple(f"line {n}" for n in range(count - TAIL_LINES, count))
    assert len(parser.feed(BAR + b"\n")) == 1


def test_stages_are_bounded_and_their_outcome_is_not_lost() -> None:
    parser = ProgressParser()
    stages = parser.feed(b'Now downloading "x"...\n' * (STAGE_EVENTS_MAX + 500))
    assert [new.event for new in stages] == [StageStart(name="x")] * STAGE_EVENTS_MAX
    assert parser.feed(b'Now downloading "late"...\n') == []
    assert [failure.name for failure in parser.evidence.failures] == ["x", "late"]


def test_downloads_of_aria2_are_bounded() -> None:
    parser = ProgressParser()
    events = [
        new.event.type
        for n in range(STAGE_EVENTS_MAX + 100)
        for new in parser.feed(b"[#%06x 1.0MiB/2.0MiB(50%%) CN:1 DL:1.0MiB]\n" % n)
    ]
    assert events.count("stage_start") == STAGE_EVENTS_MAX
    assert events.count("progress") == STAGE_EVENTS_MAX + 100


def test_a_hundred_megabytes_without_a_newline_take_no_memory() -> None:
    parser = ProgressParser()
    block = b"z" * (1 << 20)
    tracemalloc.start()
    for _ in range(100):
        assert parser.feed(block) == []
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < MEMORY_BYTES_MAX
    (new,) = parser.close(0)
    assert isinstance(new.event, Output)
    assert new.event.cut
    assert new.source_offset == 100 << 20


@pytest.mark.slow
def test_what_the_evidence_holds_is_bounded() -> None:
    parser = ProgressParser()
    line = b"curl: (6) Could not resolve host: " + b"h" * LINE_BYTES_MAX + b"\n"
    block = b"---------\n" + b"[Errno 28] " + b"e" * 15_000 + b"\n---------\n"
    tracemalloc.start()
    for _ in range(500):
        parser.feed(line + block)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2 * MEMORY_BYTES_MAX
    evidence = parser.evidence
    assert len(evidence.tail) == TAIL_LINES
    assert max(map(len, evidence.tail)) <= TAIL_LINE_CHARACTERS_MAX
    assert len(evidence.error_lines) <= ERROR_LINES_MAX


def test_the_splitter_keeps_no_more_than_a_line() -> None:
    splitter = LineSplitter(lambda line: None)
    (line,) = splitter.feed(b"y" * 100_000 + b"\n")
    assert len(line.raw) == LINE_BYTES_MAX + LOOKAHEAD_BYTES
    assert (line.offset, line.cut) == (100_001, True)
