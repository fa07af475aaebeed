"""What civitdl said of each model, and what other tools said went wrong: the evidence of an attempt.

civitdl exits with status 0 whatever happened, so the truth is only in its sentences: for each model the last
*Now downloading* must meet its *Download completed*; what it gave up, and any error block, is a failure until a later
completion of the same model heals it.
"""

from __future__ import annotations

import re
from collections import deque
from dataclasses import dataclass

from service.events.tools import civitdl, hf

TAIL_LINES = 40
TAIL_LINE_CHARACTERS_MAX = 2_000
MODELS_MAX = 1_000
BLOCK_LINES_MAX = 40
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
class ModelFailure:
    """A model that civitdl did not install. ``error`` None: it began and never said how it ended."""

    name: str | None
    error: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """All that the output says about its end. ``tool``: the last format that was recognised."""

    is_civitdl: bool = False
    completed: int = 0
    failures: tuple[ModelFailure, ...] = ()
    error_lines: tuple[str, ...] = ()
    tail: tuple[str, ...] = ()
    tool: str | None = None


class Ledger:
    """Reads plain lines in order. Bounded in all it keeps."""

    def __init__(self) -> None:
        self._is_civitdl = False
        self._completed = 0
        self._open: dict[tuple[str, str | None, str | None], None] = {}
        self._failed: dict[tuple[str | None, str | None, str | None], str | None] = {}
        self._naming: tuple[str, str] | None = None  # ("started" | "completed", name) until its ids have come
        self._model_id: str | None = None
        self._current: tuple[str, str | None, str | None] | None = None
        self._pending: str | None = None
        self._block: list[str] | None = None
        self._errors: deque[str] = deque(maxlen=ERROR_LINES_MAX)
        self._tail: deque[str] = deque(maxlen=TAIL_LINES)
        self._tail_ends_with_bar = False
        self._not_downloaded: str | None = None
        self.tool: str | None = None

    def bar(self, text: str) -> None:
        """A progress bar: of a run of them only the last one is a line of the tail."""
        if self._tail_ends_with_bar:
            self._tail.pop()
        self._tail.append(text[:TAIL_LINE_CHARACTERS_MAX])
        self._tail_ends_with_bar = True

    def started(self, name: str) -> None:
        self._is_civitdl = True
        self._end_block()
        self._named()
        self._naming = ("started", name)

    def completed(self, name: str) -> None:
        self._is_civitdl = True
        self._named()
        self._naming = ("completed", name)

    def line(self, text: str) -> None:
        """Any line that is no bar."""
        self._tail.append(text[:TAIL_LINE_CHARACTERS_MAX])
        self._tail_ends_with_bar = False
        self._ids(text)
        if text == civitdl.RULE:
            self._rule()
        elif self._block is not None and len(self._block) < BLOCK_LINES_MAX:
            self._block.append(text[:MESSAGE_CHARACTERS_MAX])
        if text == civitdl.RETRYING:
            self._is_civitdl = True
        elif civitdl.GAVE_UP.match(text):
            self._give_up()
        elif hf.NOT_DOWNLOADED.match(text):
            self._not_downloaded = text
        elif self._not_downloaded is not None and len(self._not_downloaded) < MESSAGE_CHARACTERS_MAX:
            self._not_downloaded += f" {text}"
        elif _ERROR_LINE.search(text[:MESSAGE_CHARACTERS_MAX]):
            self._errors.append(text[:MESSAGE_CHARACTERS_MAX])

    def evidence(self) -> Evidence:
        self._named()
        self._end_block()
        failures = [ModelFailure(name=key[0], error=error) for key, error in self._failed.items()]
        failures += [ModelFailure(name=key[0], error=self._pending) for key in self._open]
        if self._pending is not None and not self._open:
            failures.append(ModelFailure(name=None, error=self._pending))
        if self._not_downloaded is not None:
            failures.append(ModelFailure(name=None, error=self._not_downloaded[:MESSAGE_CHARACTERS_MAX]))
        return Evidence(
            is_civitdl=self._is_civitdl or (bool(failures) and self._not_downloaded is None),
            completed=self._completed,
            failures=tuple(failures),
            error_lines=tuple(self._errors),
            tail=tuple(self._tail),
            tool="civitdl" if self._is_civitdl else self.tool,
        )

    def _ids(self, text: str) -> None:
        if self._naming is None:
            return
        model, version = civitdl.MODEL_ID.match(text), civitdl.VERSION_ID.match(text)
        if model is not None:
            self._model_id = model[1]
        elif version is not None:
            self._named(version[1])

    def _named(self, version_id: str | None = None) -> None:
        """The ids of a sentence have come, or did not come: enter it into the books."""
        if self._naming is None:
            return
        what, name = self._naming
        key = (name, self._model_id, version_id)
        self._naming = self._model_id = None
        if what == "started":
            self._current = key
            if len(self._open) < MODELS_MAX:
                self._open[key] = None
        else:
            self._heal(key)

    def _heal(self, key: tuple[str, str | None, str | None]) -> None:
        """Only a download that began can have completed."""
        if key not in self._open and key not in self._failed:
            return
        self._completed += 1
        self._open.pop(key, None)
        self._failed.pop(key, None)
        if key == self._current:
            self._current = self._pending = None

    def _give_up(self) -> None:
        self._is_civitdl = True
        self._end_block()
        key = self._current or (None, None, None)
        if self._current is not None:
            self._open.pop(self._current, None)
        if len(self._failed) < MODELS_MAX:
            self._failed[key] = self._pending or self._failed.get(key)
        self._current = self._pending = None

    def _rule(self) -> None:
        if self._block is None:
            self._block = []
        else:
            self._end_block()

    def _end_block(self) -> None:
        """A block between two rules is a failure if it reads like one."""
        block, self._block = self._block, None
        text = " ".join(line for line in block or () if line != civitdl.RULE)
        if text and (self._is_civitdl or civitdl.FAILURE.search(text)):
            self._named()
            self._pending = text[:MESSAGE_CHARACTERS_MAX]
