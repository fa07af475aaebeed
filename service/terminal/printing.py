"""Lines for people and JSON for programs. The JSON is ASCII, so control characters stay escaped on a terminal."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any

from service.terminal.job_view import JobView
from service.terminal.text import clock, harmless


def say(text: Any) -> None:
    print(harmless(text), file=sys.stderr)


def print_json(value: Any) -> None:
    print(json.dumps(value, indent=2, ensure_ascii=True))


def print_event_json(event: dict[str, Any]) -> None:
    print(json.dumps(event, ensure_ascii=True))


def event_printer() -> Callable[[dict[str, Any]], None]:
    view = JobView()

    def print_event(event: dict[str, Any]) -> None:
        view.apply(event)
        of_tool = event.get("line") if event["type"] == "output" else _bar(event)
        line = view.sentence(event) or (event["type"] if of_tool is None else f"| {of_tool}")
        print(f"{event['sequence']:>6} {clock(event['at'])} {harmless(line)}")

    return print_event


def _bar(event: dict[str, Any]) -> str | None:
    if event["type"] in ("stage_start", "stage_complete"):
        return f"{event['type']}: {event['name']}"
    if event["type"] != "progress":
        return None
    figures = (event[name] for name in ("stage", "percent", "downloaded", "total", "speed"))
    return " ".join(str(figure) for figure in figures if figure is not None)
