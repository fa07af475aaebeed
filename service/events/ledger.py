"""The evidence of an attempt: the last lines, the lines that read like errors, and what each tool says went wrong."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from service.events.error_lines import Kind, kind_of
from service.events.line_kinds import LineKinds
from service.events.runs import RunLedger

TAIL_LINES = 40
TAIL_LINE_CHARACTERS_MAX = 2_000
ERROR_LINES_MAX = 20
MESSAGE_CHARACTERS_MAX = 500
# Of so many ordinary lines, only the last ones are asked whether they are plain.
ORDINARY_LINES_MAX = 64


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
    """All that the output says about its end. ``error_lines``: those that look like errors, and the warnings that
    explain one. ``last_plain``: the last line that is a sentence and nothing else, neither an error nor progress,
    decoration, advice or help. ``tool``: the last command that was recognised. ``runs``: those that the log records,
    with their words."""

    failures: tuple[ToolFailure, ...] = ()
    error_lines: tuple[str, ...] = ()
    tail: tuple[str, ...] = ()
    tool: str | None = None
    runs: RunLedger = field(default_factory=RunLedger)
    last_plain: str | None = None


class Ledger:
    """Reads redacted lines in order. Bounded in all it keeps."""

    def __init__(self) -> None:
        self._errors: deque[str] = deque(maxlen=ERROR_LINES_MAX)
        self._tail: deque[str] = deque(maxlen=TAIL_LINES)
        self._tail_ends_with_bar = False
        self._kinds = LineKinds()
        self._last_plain: str | None = None
        self._ordinary: list[str] = []

    def bar(self, text: str) -> None:
        """A progress bar: only the last one of a run of bars stays in the tail."""
        if self._tail_ends_with_bar:
            self._tail.pop()
        self._tail.append(text[:TAIL_LINE_CHARACTERS_MAX])
        self._tail_ends_with_bar = True

    def line(self, text: str) -> bool:
        """Any line that is not a bar. Returns whether it looks like an error."""
        self._tail.append(text[:TAIL_LINE_CHARACTERS_MAX])
        self._tail_ends_with_bar = False
        message = text[:MESSAGE_CHARACTERS_MAX]
        if self._kinds.is_ordinary(message):
            self._ordinary.append(message)
            if len(self._ordinary) == ORDINARY_LINES_MAX:
                self._find_plain()
            return False
        kind = self._kinds.kind(message)
        if kind is Kind.PLAIN:
            self._last_plain = message
            self._ordinary.clear()
        elif kind is not Kind.HARMLESS:
            self._errors.append(message)
            return True
        return False

    @property
    def error_lines(self) -> tuple[str, ...]:
        return tuple(self._errors)

    @property
    def last_plain(self) -> str | None:
        self._find_plain()
        return self._last_plain

    @property
    def tail(self) -> tuple[str, ...]:
        return tuple(self._tail)

    def _find_plain(self) -> None:
        plain = (line for line in reversed(self._ordinary) if kind_of(line) is Kind.PLAIN)
        self._last_plain = next(plain, self._last_plain)
        self._ordinary.clear()
