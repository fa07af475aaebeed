"""The parser on raw output of the real tools: golden events, however the bytes are cut."""

from __future__ import annotations

import json
import random
import re
from pathlib import Path

import pytest

from tests.events.golden import FOLDER, OUTCOMES, TRANSCRIPTS, exit_code, golden, golden_path, lines, parse

CUTS = 200
# How many bars a tool drew, counted in the raw bytes without any help from the parser: the first whose name fits.
BARS = json.loads((FOLDER / "bars.json").read_text(encoding="utf-8"))
every_transcript = pytest.mark.parametrize("path", TRANSCRIPTS, ids=lambda path: path.stem)


def test_every_transcript_has_its_golden_events_and_its_outcome() -> None:
    assert {path.stem for path in TRANSCRIPTS} == set(OUTCOMES)
    assert {golden_path(path) for path in TRANSCRIPTS} == set(FOLDER.glob("*.golden.jsonl"))


@every_transcript
def test_golden_events_whole_and_byte_by_byte(path: Path) -> None:
    raw = path.read_bytes()
    assert lines(parse([raw], exit_code(path))) == golden(path)
    assert lines(parse([raw[n : n + 1] for n in range(len(raw))], exit_code(path))) == golden(path)


@every_transcript
def test_golden_events_cut_at_random(path: Path) -> None:
    raw = path.read_bytes()
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    cuts = sorted(random.Random(seed).choices(range(len(raw) + 1), k=CUTS))
    pieces = [raw[a:b] for a, b in zip([0, *cuts], [*cuts, len(raw)], strict=True)]
    assert lines(parse(pieces, exit_code(path))) == golden(path)


@every_transcript
def test_every_bar_is_one_event(path: Path) -> None:
    raw = path.read_bytes()
    drawn = next(re.compile(pattern.encode()) for name, pattern in BARS.items() if path.stem.startswith(name))
    shown = [new.event.to_dict() for new in parse([raw]) if new.event.type == "progress"]
    assert len(shown) == len(drawn.findall(raw))
    assert {type(bar["percent"]) for bar in shown} <= {int, type(None)}
    assert all(0 <= bar["percent"] <= 100 for bar in shown if bar["percent"] is not None)


@every_transcript
def test_no_bar_is_left_among_the_lines(path: Path) -> None:
    said = [new.event.to_dict()["line"] for new in parse([path.read_bytes()]) if new.event.type == "output"]
    assert not [line for line in said if re.search(r"\d%\||\]\s*[\d.]+[KM]\b|=[#O]=|CN:\d", line)]


@every_transcript
def test_a_second_reading_continued_at_any_event_gives_the_rest(path: Path) -> None:
    """What a service does after a restart: a fresh parser from the first byte, and what is stored already dropped."""
    raw = path.read_bytes()
    events = [(new.source_offset, new) for new in parse([raw], exit_code(path)) if new.source_offset is not None]
    offsets = [offset for offset, _ in events]
    assert offsets == sorted(offsets)
    assert all(0 < offset <= len(raw) for offset in offsets)
    for stored in set(offsets):
        again = parse([raw[:stored], raw[stored:]], exit_code(path))
        rest = [new for new in again if new.source_offset is not None and new.source_offset > stored]
        assert rest == [new for offset, new in events if offset > stored]


def test_the_dictionaries_that_users_know() -> None:
    raw = (
        'Now downloading "Dramatic Lighting Slider"...\n'
        "\rModel:  45%|████▌     | 3.65M/8.12M [00:03<00:04, 60.9MiB/s]"
        '\nDownload completed for "Dramatic Lighting Slider"\n'
    ).encode()
    assert [new.event.to_dict() for new in parse([raw])] == [
        {"type": "stage_start", "name": "Dramatic Lighting Slider"},
        {
            "type": "progress",
            "stage": "model",
            "percent": 45,
            "downloaded": "3.65M",
            "total": "8.12M",
            "elapsed": "00:03",
            "remaining": "00:04",
            "speed": "60.9MiB/s",
            "downloaded_bytes": 3_650_000,
            "total_bytes": 8_120_000,
            "bytes_per_second": 60_900_000.0,
            "eta_seconds": 4.0,
            "resource_eta_seconds": None,
            "job_eta_seconds": None,
            "left_out": 0,
        },
        {"type": "stage_complete", "name": "Dramatic Lighting Slider"},
    ]
