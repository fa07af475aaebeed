"""The evidence of an attempt: the last lines, the lines that read like errors, and what each tool says went wrong."""

from __future__ import annotations

import re
from collections import deque
from dataclasses import dataclass, field

from service.events.runs import RunLedger

TAIL_LINES = 40
TAIL_LINE_CHARACTERS_MAX = 2_000
ERROR_LINES_MAX = 20
MESSAGE_CHARACTERS_MAX = 500

# Lines by which tools, shells and Python say that something went wrong.
_ERROR_LINE = re.compile(
    r"^resource-installer: [\w-]+ is not installed|"
    r"^Error: |"
    r"ERROR \d{3}|^curl: \(\d+\)|errorCode=\d+|\[ERROR\]|failed: |unable to resolve|Unable to establish SSL|Read error|"
    r"^fatal: |^ERROR\b|^\w*(?:Error|Exception)\b.{0,3}:|: command not found|No such file or directory|"
    r"Permission denied|No space left|Disk quota exceeded|Read-only file system|Cannot write to|^Killed$|"
    r"Connection (?:refused|reset|timed out)|certificate (?:verif|prob|has|is)|"
    r"cannot verify|[Tt]oo [Mm]any [Rr]equests|Connection closed at byte|"
    r"[Nn]etwork is unreachable|No module named|\b(?:Client|Server) Error\b|Unauthorized|Forbidden|Not Found",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolFailure:
    """A download that failed by a tool's own account, whatever its exit status says.

    ``tool``: what stands before the error, None if the error names its tool itself. ``name``: of the download, where
    it is known. ``error`` None: the download began, and the tool never said how it ended.
    """

    tool: str | None
    name: str | None
    error: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """All that the output says about its end. ``tool``: the last command that was recognised. ``runs``: those that the
    log records, with their words."""

    failures: tuple[ToolFailure, ...] = ()
    error_lines: tuple[str, ...] = ()
    tail: tuple[str, ...] = ()
    tool: str | None = None
    runs: RunLedger = field(default_factory=RunLedger)


class Ledger:
    """Reads redacted lines in order. Bounded in all it keeps."""

    def __init__(self) -> None:
        self._errors: deque[str] = deque(maxlen=ERROR_LINES_MAX)
        self._tail: deque[str] = deque(maxlen=TAIL_LINES)
        self._tail_ends_with_bar = False

    def bar(self, text: str) -> None:
        """A progress bar: only the last one of a run of bars stays in the tail."""
        if self._tail_ends_with_bar:
            self._tail.pop()
        self._tail.append(text[:TAIL_LINE_CHARACTERS_MAX])
        self._tail_ends_with_bar = True

    def line(self, text: str) -> bool:
        """Any line that is not a bar. Returns whether it reads like an error."""
        self._tail.append(text[:TAIL_LINE_CHARACTERS_MAX])
        self._tail_ends_with_bar = False
        is_error = _ERROR_LINE.search(text[:MESSAGE_CHARACTERS_MAX]) is not None
        if is_error:
            self._errors.append(text[:MESSAGE_CHARACTERS_MAX])
        return is_error

    @property
    def error_lines(self) -> tuple[str, ...]:
        return tuple(self._errors)

    @property
    def tail(self) -> tuple[str, ...]:
        return tuple(self._tail)
