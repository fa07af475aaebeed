"""Transcripts of real tools and the events that they must give. Run as a module, it writes the golden files again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from service.events.parser import ProgressParser
from service.events.recorded_event import NewEvent

FOLDER = Path(__file__).parents[1] / "transcripts"
TRANSCRIPTS = sorted(FOLDER.glob("*.raw"))
OUTCOMES: dict[str, dict[str, Any]] = json.loads((FOLDER / "outcomes.json").read_text(encoding="utf-8"))


def exit_code(path: Path) -> int:
    code: int = OUTCOMES[path.stem]["exit_code"]
    return code


def parse(pieces: list[bytes], code: int = 0) -> list[NewEvent]:
    parser = ProgressParser(resource="a.md", attempt=1, title="Card title")
    events = [event for piece in pieces for event in parser.feed(piece)]
    return events + parser.close(code)


def lines(events: list[NewEvent]) -> list[Any]:
    return [[new.source_offset, new.event.to_dict()] for new in events]


def golden_path(path: Path) -> Path:
    return path.with_suffix(".golden.jsonl")


def golden(path: Path) -> list[Any]:
    return [json.loads(line) for line in golden_path(path).read_text(encoding="utf-8").splitlines()]


def write() -> None:
    for path in TRANSCRIPTS:
        events = lines(parse([path.read_bytes()], exit_code(path)))
        text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in events)
        golden_path(path).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    write()
