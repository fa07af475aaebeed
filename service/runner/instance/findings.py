"""Reads what the verification prints: its findings become events, and what a verdict needs to know.

The same bytes give the same events, however they were cut, and everything is bounded: file names are a stranger's.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from service.events.event_types import Event, Output, Progress, ResourceVerified, ResourceWarned
from service.events.ledger import TAIL_LINES, Evidence
from service.events.lines import LINE_BYTES_MAX, Line, LineSplitter, plain
from service.events.recorded_event import NewEvent
from service.runner.instance.problems import decoded, is_decimal, is_sha256, problem_in_words

FILES_MAX = 1_000
PROGRESS_EVENTS_MAX = 20_000
OUTPUT_LINES_MAX = 200
NAME_CHARACTERS_MAX = 500
PATH_CHARACTERS_MAX = 1_000
TAIL_LINE_CHARACTERS_MAX = 2_000
STAGE = "verify"
NOT_LISTED = "ComfyUI does not list a file of this name: give it a suffix, such as .safetensors, with -O, -o or --out"
# The first word of each line that the program prints.
LINE_MARK = "verify"

# Who may have said what a file must be, and what may have been checked.
_SOURCES = ("civitdl", "card")
_CHECKED = ("not_html", "safetensors_header", "magic", "size", "sha256")


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """``problems``: what is wrong with the files, a sentence each. ``is_complete``: the program came to its end.
    ``missing_tool``: the instance lacks a tool that the program needs."""

    problems: tuple[str, ...] = ()
    is_complete: bool = False
    missing_tool: str | None = None


class VerificationParser:
    """Reads the output of one verification: ``feed`` the bytes in order, then ``close``, then ask for ``findings``."""

    def __init__(self, resource: str, attempt: int, redact: Callable[[str], str]) -> None:
        self._resource = resource
        self._attempt = attempt
        self._redact = redact
        self._splitter = LineSplitter(_no_bar)
        self._paths: dict[int, str] = {}
        self._sizes: dict[int, int] = {}
        self._problems: list[str] = []
        self._missing_tool: str | None = None
        self._is_complete = False
        self._progress_events = 0
        self._output_lines = 0
        self._tail: deque[str] = deque(maxlen=TAIL_LINES)

    def feed(self, chunk: bytes) -> list[NewEvent]:
        """The events of all lines that end within this chunk."""
        return [new for record in self._splitter.feed(chunk) for new in self._record(record)]

    def close(self, exit_code: int | None) -> list[NewEvent]:
        """The output has ended: what its last line holds."""
        return [new for record in self._splitter.close() for new in self._record(record)]

    @property
    def announced_too_much(self) -> int | None:
        """A verification loads nothing."""
        return None

    @property
    def evidence(self) -> Evidence:
        return Evidence(tail=tuple(self._tail))

    @property
    def findings(self) -> Findings:
        return Findings(problems=tuple(self._problems), is_complete=self._is_complete, missing_tool=self._missing_tool)

    def _record(self, record: Line) -> list[NewEvent]:
        words = [] if record.cut else record.raw.decode("ascii", errors="replace").split(" ")
        events = self._finding(words[1], words[2:]) if len(words) > 1 and words[0] == LINE_MARK else None
        if events is None:
            events = self._output(plain(record.raw[:LINE_BYTES_MAX]))
        return [
            NewEvent(event=event, resource=self._resource, attempt=self._attempt, source_offset=record.offset)
            for event in events
        ]

    def _finding(self, word: str, values: Sequence[str]) -> list[Event] | None:
        """The events of a line of the program, or None for a line that it never prints."""
        if word == "missing" and len(values) == 1:
            self._missing_tool = plain(values[0].encode())[:NAME_CHARACTERS_MAX]
            return []
        if word == "said" and len(values) == 1:
            return [e for line in (decoded(values[0]) or b"").split(b"\n") for e in self._output(plain(line))]
        if word == "end" and len(values) == 3 and all(map(is_decimal, values)):
            return self._end(*map(int, values))
        if not values or (file := _index(values[0])) is None:
            return None
        if word == "name":
            return self._named(file, values[1:])
        return self._of_file(file, word, values[1:]) if file in self._paths else None

    def _named(self, file: int, values: Sequence[str]) -> list[Event] | None:
        path = decoded(values[0]) if len(values) == 1 else None
        if path is None:
            return None
        self._paths[file] = self._text(path, PATH_CHARACTERS_MAX)
        return []

    def _of_file(self, file: int, word: str, values: Sequence[str]) -> list[Event] | None:
        if word == "bad" and values:
            problem = problem_in_words(values[0], values[1:], self._text)
            return None if problem is None else self._bad(file, problem)
        if word == "unlisted" and not values:
            return [ResourceWarned(code="not_listed", text=NOT_LISTED, paths=[self._paths[file]])]
        if word in ("begin", "at") and len(values) == 1 and is_decimal(values[0]):
            return self._begin(file, int(values[0])) if word == "begin" else self._at(file, int(values[0]))
        if word == "good" and len(values) == 3:
            return self._good(file, *values)
        return None

    def _begin(self, file: int, size_bytes: int) -> list[Event]:
        self._sizes[file] = size_bytes
        return self._at(file, 0)

    def _at(self, file: int, position_bytes: int) -> list[Event]:
        total = self._sizes.get(file)
        self._progress_events += 1
        if total is None or self._progress_events > PROGRESS_EVENTS_MAX:
            return []
        at = min(position_bytes, total)
        percent = at * 100 // total if total else 100
        return [Progress(stage=STAGE, percent=percent, downloaded_bytes=at, total_bytes=total)]

    def _good(self, file: int, digest: str, against: str, checked: str) -> list[Event]:
        verified = ResourceVerified(
            file=self._paths[file],
            bytes=self._sizes.get(file, 0),
            sha256=digest if is_sha256(digest) else None,
            held_against=against if against in _SOURCES else None,
            result="verified" if against in _SOURCES else "unverified",
            checked=[name for name in checked.split(",") if name in _CHECKED],
        )
        return [verified]

    def _bad(self, file: int, problem: str) -> list[Event]:
        error = f"{self._paths[file]}: {problem}"
        self._problems.append(error)
        return self._output(error)

    def _end(self, files: int, more: int, failures: int) -> list[Event]:
        self._is_complete = True
        if failures and not self._problems:
            self._problems.append("a file is not what it should be")
        events: list[Event] = []
        if more:
            events += self._output(f"verification: {more} more files of this attempt were not examined")
        if files == 0:
            # An event too, so that the resource does not look like one whose verification nobody asked for.
            events += self._output("verification: no file of this attempt was found, so none was verified")
            events.append(
                ResourceVerified(file="", bytes=0, sha256=None, held_against=None, result="unverified", checked=[])
            )
        return events

    def _output(self, line: str) -> list[Event]:
        kept = self._redact(line)
        if not kept:
            return []
        self._tail.append(kept[:TAIL_LINE_CHARACTERS_MAX])
        self._output_lines += 1
        return [Output(line=kept)] if self._output_lines <= OUTPUT_LINES_MAX else []

    def _text(self, raw: bytes, characters_max: int) -> str:
        return self._redact(plain(raw))[:characters_max]


def _no_bar(line: bytes | bytearray) -> None:
    return None


def _index(text: str) -> int | None:
    return int(text) if is_decimal(text) and int(text) < FILES_MAX else None
