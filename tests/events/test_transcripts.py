"""The parser on raw output of the real tools: golden events, however the bytes are cut."""

from __future__ import annotations

import json
import random
import re
from pathlib import Path
from typing import Any

import pytest

from service.events.parser import ProgressParser
from service.events.recorded_event import NewEvent

FOLDER = Path(__file__).parents[1] / "transcripts"
TRANSCRIPTS = sorted(FOLDER.glob("*.raw"))
# What a bar of tqdm ends with, counted without any help of the parser.
BAR_END = re.compile(rb"\[\d+:\d\d(?:<[\d:?]+)?, *[^\]\[]*i?B(?:/s)?\]")


def parse(pieces: list[bytes], exit_code: int = 0) -> list[NewEvent]:
    parser = ProgressParser(resource="a.md", attempt=1, title="Card title")
    events = [event for piece in pieces for event in parser.feed(piece)]
    return events + parser.close(exit_code)


def lines(events: list[NewEvent]) -> list[Any]:
    return [[new.source_offset, new.event.to_dict()] for new in events]


def golden(path: Path) -> list[Any]:
    text = path.with_suffix(".golden.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def exit_code(path: Path) -> int:
    return 8 if path.stem == "wget-404" else 0


@pytest.mark.parametrize("path", TRANSCRIPTS, ids=lambda path: path.stem)
def test_golden_events_whole_and_byte_by_byte(path: Path) -> None:
    raw = path.read_bytes()
    assert lines(parse([raw], exit_code(path))) == golden(path)
    assert lines(parse([raw[n : n + 1] for n in range(len(raw))], exit_code(path))) == golden(path)


@pytest.mark.parametrize("path", TRANSCRIPTS, ids=lambda path: path.stem)
def test_golden_events_cut_at_random(path: Path) -> None:
    raw = path.read_bytes()
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    cuts = sorted(random.Random(seed).choices(range(len(raw) + 1), k=200))
    pieces = [raw[a:b] for a, b in zip([0, *cuts], [*cuts, len(raw)], strict=True)]
    assert lines(parse(pieces, exit_code(path))) == golden(path)


@pytest.mark.parametrize("path", TRANSCRIPTS, ids=lambda path: path.stem)
def test_every_bar_of_tqdm_is_one_event(path: Path) -> None:
    raw = path.read_bytes()
    bars = [new for new in parse([raw]) if new.event.type == "progress" and path.stem.startswith("civitdl")]
    expected = len(BAR_END.findall(raw)) if path.stem.startswith("civitdl") else 0
    assert len(bars) == expected
    for new in bars:
        percent = new.event.to_dict()["percent"]
        assert percent is None or 0 <= percent <= 100


@pytest.mark.parametrize("path", TRANSCRIPTS, ids=lambda path: path.stem)
def test_going_on_at_any_event_gives_the_rest(path: Path) -> None:
    raw = path.read_bytes()
    events = [new for new in parse([raw], exit_code(path)) if new.source_offset is not None]
    offsets = [new.source_offset for new in events]
    assert offsets == sorted(offsets, key=lambda offset: offset or 0)
    for stored in set(offsets):
        assert stored is not None
        again = [new for new in parse([raw[:stored], raw[stored:]]) if (new.source_offset or 0) > stored]
        assert again == [new for new in events if (new.source_offset or 0) > stored]


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
        },
        {"type": "stage_complete", "name": "Dramatic Lighting Slider"},
    ]
