"""The verification of what a download left on the instance: the program that runs there, and the reader of its lines.

The program looks at each file (is it a model at all, does its header add up, are its size and its SHA-256 those that
the card or civitdl say) and tells its findings in lines of its own; here they become events and a verdict. The same
bytes give the same events, however they were cut, and everything is bounded: file names are a stranger's.
"""

from __future__ import annotations

import base64
import binascii
import re
import shlex
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import resources

from service.errors import CardError
from service.events.causes import Cause
from service.events.event_types import Event, Output, Progress, ResourceVerified, StageComplete, StageStart
from service.events.ledger import TAIL_LINES, Evidence
from service.events.lines import LINE_BYTES_MAX, Line, LineSplitter, plain
from service.events.recorded_event import NewEvent
from service.runner.outcome import Ended, Outcome, failed, judge

FILES_MAX = 1_000
PROGRESS_EVENTS_MAX = 20_000
OUTPUT_LINES_MAX = 200
NAME_CHARACTERS_MAX = 500
PATH_CHARACTERS_MAX = 1_000
SAID_CHARACTERS_MAX = 200
BYTES_DIGITS_MAX = 19

_SHA256 = re.compile(r"[0-9a-f]{64}")
_NUMBER = re.compile(rf"[0-9]{{1,{BYTES_DIGITS_MAX}}}")
_HELD_AGAINST = ("civitdl", "card")
_CHECKED = ("not_html", "safetensors_header", "size", "sha256")


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpectedFile:
    """A file that a card names. ``path``: relative to ``$UI_HOME``. Raises CardError for a path that leaves it."""

    path: str
    sha256: str | None = None
    size_bytes: int | None = None

    def __post_init__(self) -> None:
        if not self.path or self.path.startswith("/") or "\0" in self.path or ".." in self.path.split("/"):
            raise CardError(f"the file {self.path[:120]!r} of a card must be a path below $UI_HOME, without ..")


def verify_program(*, files: Sequence[ExpectedFile], sha256: str | None, size_bytes: int | None) -> str:
    """A bash program. ``sha256`` and ``size_bytes`` are those of the one file that the card makes, where it names no
    files."""
    lines = [
        _array("card_files", [file.path for file in files]),
        _array("card_sha256s", [(file.sha256 or "").lower() for file in files]),
        _array("card_sizes", [_number(file.size_bytes) for file in files]),
        f"card_sha256={shlex.quote((sha256 or '').lower())}",
        f"card_size={shlex.quote(_number(size_bytes))}",
    ]
    folder = resources.files("service.runner.instance") / "scripts"
    scripts = [(folder / name).read_text(encoding="utf-8") for name in ("verify_files.sh", "verify_checks.sh")]
    return "\n".join([*lines, *scripts])


class VerifyParser:
    """The reader of one verification's output: ``feed`` the bytes in order, then ``close``, then ``outcome``."""

    def __init__(self, resource: str, attempt: int, redact: Callable[[str], str]) -> None:
        self._resource = resource
        self._attempt = attempt
        self._redact = redact
        self._splitter = LineSplitter(_no_bar)
        self._paths: dict[int, str] = {}
        self._sizes: dict[int, int] = {}
        self._problems: list[str] = []
        self._missing_tool: str | None = None
        self._has_ended = False
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
    def evidence(self) -> Evidence:
        return Evidence(tail=tuple(self._tail))

    def outcome(self, ended: Ended) -> Outcome:
        """The verdict, asked behind ``close``. Installed is only what was looked at to the end."""
        if self._missing_tool is not None:
            error = f"the verification needs {self._missing_tool}, which is not installed on the instance"
            return failed(Cause.TOOL_MISSING, error, ended.exit_code)
        if self._has_ended and self._problems:
            more = len(self._problems) - 1
            others = f" (and {more} more)" if more else ""
            return failed(Cause.VERIFICATION_FAILED, self._problems[0] + others, ended.exit_code)
        verdict = judge(self.evidence, ended)
        if verdict.installed and not self._has_ended:
            return failed(Cause.VERIFICATION_FAILED, "the verification ended without a finding", ended.exit_code)
        return verdict

    def _record(self, record: Line) -> list[NewEvent]:
        words = [] if record.cut else record.raw.decode("ascii", errors="replace").split(" ")
        events = self._finding(words[1], words[2:]) if len(words) > 1 and words[0] == "verify" else None
        if events is None:
            events = self._output(plain(record.raw[:LINE_BYTES_MAX]))
        return [
            NewEvent(event=event, resource=self._resource, attempt=self._attempt, source_offset=record.offset)
            for event in events
        ]

    def _finding(self, word: str, values: Sequence[str]) -> list[Event] | None:
        """The events of a line of the program, or None for what it never writes."""
        if word == "missing" and len(values) == 1:
            self._missing_tool = plain(values[0].encode())[:NAME_CHARACTERS_MAX]
            return []
        if word == "said" and len(values) == 1:
            return [e for line in (_decoded(values[0]) or b"").split(b"\n") for e in self._output(plain(line))]
        if word == "end" and len(values) == 3 and all(map(_NUMBER.fullmatch, values)):
            return self._end(*map(int, values))
        if not values or (file := _index(values[0])) is None:
            return None
        rest = values[1:]
        if word == "name" and len(rest) == 1 and (path := _decoded(rest[0])) is not None:
            self._paths[file] = self._text(path, PATH_CHARACTERS_MAX)
            return []
        if file not in self._paths:
            return None
        if word == "bad" and rest and (problem := self._problem(rest[0], rest[1:])) is not None:
            return self._bad(file, problem)
        if word in ("begin", "at") and len(rest) == 1 and _NUMBER.fullmatch(rest[0]):
            return self._begin(file, int(rest[0])) if word == "begin" else self._at(file, int(rest[0]))
        if word == "good" and len(rest) == 3:
            return self._good(file, *rest)
        return None

    def _begin(self, file: int, size_bytes: int) -> list[Event]:
        self._sizes[file] = size_bytes
        return [StageStart(name=self._name(file))]

    def _at(self, file: int, position_bytes: int) -> list[Event]:
        total = self._sizes.get(file)
        self._progress_events += 1
        if total is None or self._progress_events > PROGRESS_EVENTS_MAX:
            return []
        at = min(position_bytes, total)
        percent = at * 100 // total if total else 100
        return [Progress(stage="verify", percent=percent, downloaded_bytes=at, total_bytes=total)]

    def _good(self, file: int, digest: str, against: str, checked: str) -> list[Event]:
        verified = ResourceVerified(
            file=self._paths[file],
            bytes=self._sizes.get(file, 0),
            sha256=digest if _SHA256.fullmatch(digest) else None,
            held_against=against if against in _HELD_AGAINST else None,
            result="verified" if against in _HELD_AGAINST else "unverified",
            checked=[name for name in checked.split(",") if name in _CHECKED],
        )
        return [verified, StageComplete(name=self._name(file))]

    def _bad(self, file: int, problem: str) -> list[Event]:
        error = f"{self._paths[file]}: {problem}"
        self._problems.append(error)
        return self._output(error)

    def _end(self, files: int, more: int, failures: int) -> list[Event]:
        self._has_ended = True
        if failures and not self._problems:
            self._problems.append("a file is not what it should be")
        events: list[Event] = []
        if more:
            events += self._output(f"verification: {more} more files of this attempt were not looked at")
        if files == 0:
            # Said by an event too, so that the resource does not pass for one that nobody asked about.
            events += self._output("verification: no file of this attempt was found, so none was verified")
            events.append(
                ResourceVerified(file="", bytes=0, sha256=None, held_against=None, result="unverified", checked=[])
            )
        return events

    def _problem(self, word: str, values: Sequence[str]) -> str | None:
        """What is wrong with a file, in words."""
        if word in _ANSWERS and len(values) == 1:
            said = self._text(_decoded(values[0]) or b"", SAID_CHARACTERS_MAX)
            return _ANSWERS[word] + (f': "{said}"' if said else "")
        if word == "sha256" and len(values) == 3 and all(map(_SHA256.fullmatch, values[:2])):
            return f"its SHA-256 is {values[0]}, but {_by(values[2])} says {values[1]}"
        if word == "size" and len(values) == 3 and all(map(_NUMBER.fullmatch, values[:2])):
            return f"it has {_bytes(values[0])}, but {_by(values[2])} says {_bytes(values[1])}"
        if word in _LENGTHS and len(values) == 2 and all(map(_NUMBER.fullmatch, values)):
            return _LENGTHS[word].format(*map(_bytes, values))
        return _PLAIN.get(word) if not values else None

    def _output(self, line: str) -> list[Event]:
        kept = self._redact(line)
        if not kept:
            return []
        self._tail.append(kept[:2_000])
        self._output_lines += 1
        return [Output(line=kept)] if self._output_lines <= OUTPUT_LINES_MAX else []

    def _name(self, file: int) -> str:
        return self._paths[file].rstrip("/").rpartition("/")[2][:NAME_CHARACTERS_MAX]

    def _text(self, raw: bytes, characters_max: int) -> str:
        return self._redact(plain(raw))[:characters_max]


_ANSWERS = {
    "html": "it is an HTML page, not a model (a login page, or an error)",
    "json": "it is a message in JSON, not a model",
    "xml": "it is a message in XML, not a model",
}
_LENGTHS = {
    "short": "it is {0} short: by its own header it must have {1}",
    "long": "it is {0} longer than its own header says: that adds up to {1}",
    "short_header": "it is at least {0} short: its header alone says that it takes {1}",
}
_PLAIN = {
    "missing": "the card names it, but it is not there",
    "no_file": "it is not a file",
    "empty": "it is empty",
    "pointer": "it is a Git LFS pointer, not the file itself: git lfs was not installed when it was cloned",
    "header": "it does not begin with the header of a safetensors file",
    "header_claim": "the length that it gives for its header is more than a safetensors file can have",
    "unreadable": "it cannot be read",
    "vanished": "it vanished while it was verified",
    "changed": "it changed while it was verified",
}


def _no_bar(line: bytearray) -> None:
    return None


def _by(held_against: str) -> str:
    return "the list that civitdl wrote beside it" if held_against == "civitdl" else "the card"


def _bytes(number: str) -> str:
    return f"{int(number):,} bytes"


def _index(text: str) -> int | None:
    return int(text) if _NUMBER.fullmatch(text) and int(text) < FILES_MAX else None


def _decoded(text: str) -> bytes | None:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None


def _number(value: int | None) -> str:
    return "" if value is None else str(value)


def _array(name: str, values: Sequence[str]) -> str:
    return f"{name}=({' '.join(shlex.quote(value) for value in values)})"
