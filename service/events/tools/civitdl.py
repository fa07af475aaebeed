"""The sentences of civitdl 2.2.0, read from its source and its output, and the books that they fill.

civitdl exits with status 0 whatever happened, so the truth is only in its sentences: for each model the last *Now
downloading* must meet its *Download completed*; what it gave up, and any error block, is a failure until a later
completion of the same model heals it. Its bars are tqdm's.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from service.events.event_types import Output, StageComplete, StageStart
from service.events.ledger import MESSAGE_CHARACTERS_MAX, ToolFailure
from service.events.tools.protocol import NOT_MINE, Answer, Context, Package, Tool

MODELS_MAX = 1_000
BLOCK_LINES_MAX = 40

_STARTED = ('Now downloading "', '"...')
_COMPLETED = ('Download completed for "', '"')
_MODEL_ID = re.compile(r"- Model ID: (\S{1,64})$")
_VERSION_ID = re.compile(r"- Version ID: (\S{1,64})$")
_RETRYING = "Retrying to download the current model..."
_GAVE_UP = re.compile(r"Max retry of \d+ reached\. Skipping the current model\.\.\.$")
_RULE = "---------"
# What the lines begin with that the books take: ids, rules, and the two sentences above.
_OVERHEARD = "-RM"
# What stands between two rules when civitdl failed before its first sentence.
_FAILURE = re.compile(r"\wException \(|Error\b|\[Errno \d+\]|ConnectionPool\(|Connection (?:aborted|broken)")

# A model: its name, its id and its version's id, as far as civitdl printed them.
_Model = tuple[str | None, str | None, str | None]


class Civitdl(Tool):
    """A name may hold quotes, brackets, any script and a whole bar, so it reaches to the last quote of its line."""

    name = "civitdl"
    commands = ("civitdl",)
    package = Package(name="civitdl", version="2.2.0")
    line_ends = '".'  # of these two sentences
    unbroken = (_STARTED[0].encode(), _COMPLETED[0].encode())

    def __init__(self, context: Context) -> None:
        self._context = context
        self._books = _Books()

    def line(self, text: str, output: Output) -> Answer:
        if (found := _name_in(text, _STARTED)) is not None:
            name = self._context.name(found)
            self._books.started(name)
            return [StageStart(name=name)]
        if (found := _name_in(text, _COMPLETED)) is not None:
            name = self._context.name(found)
            self._books.completed(name)
            return [StageComplete(name=name)]
        return NOT_MINE

    def overhear(self, shown: str) -> None:
        if shown[:1] in _OVERHEARD or self._books.block is not None:
            self._books.line(shown)

    def failures(self) -> Sequence[ToolFailure]:
        return self._books.failures()


class _Books:
    """Which models began, completed and failed. The two ids of a sentence come on the lines after it, so an entry is
    made when they have come, or when the next sentence shows that they will not."""

    def __init__(self) -> None:
        self._has_spoken = False
        self._open: dict[_Model, None] = {}
        self._failed: dict[_Model, str | None] = {}
        self._sentence: tuple[tuple[str, str], str] | None = None  # the sentence and its name, until its ids have come
        self._model_id: str | None = None
        self._current: _Model | None = None
        self._pending_error: str | None = None
        self.block: list[str] | None = None

    def started(self, name: str) -> None:
        self._has_spoken = True
        self._end_block()
        self._enter()
        self._sentence = (_STARTED, name)

    def completed(self, name: str) -> None:
        self._has_spoken = True
        self._enter()
        self._sentence = (_COMPLETED, name)

    def line(self, text: str) -> None:
        """Any line, the sentences included."""
        if self._sentence is not None and text.startswith("- "):
            self._take_id(text)
        if text == _RULE:
            self._rule()
        elif self.block is not None and len(self.block) < BLOCK_LINES_MAX:
            self.block.append(text[:MESSAGE_CHARACTERS_MAX])
        if text == _RETRYING:
            self._has_spoken = True
        elif text.startswith("Max") and _GAVE_UP.match(text):
            self._give_up()

    def failures(self) -> list[ToolFailure]:
        self._enter()
        self._end_block()
        found = list(self._failed.items()) + [(model, self._pending_error) for model in self._open]
        if self._pending_error is not None and not self._open:
            found.append(((None, None, None), self._pending_error))
        return [ToolFailure(tool=Civitdl.name, name=model[0], error=error) for model, error in found]

    def _take_id(self, text: str) -> None:
        model, version = _MODEL_ID.match(text), _VERSION_ID.match(text)
        if model is not None:
            self._model_id = model[1]
        elif version is not None:
            self._enter(version[1])

    def _enter(self, version_id: str | None = None) -> None:
        """Enter the sentence that still waits for its ids."""
        if self._sentence is None:
            return
        sentence, name = self._sentence
        model = (name, self._model_id, version_id)
        self._sentence = self._model_id = None
        if sentence is _STARTED:
            self._current = model
            if len(self._open) < MODELS_MAX:
                self._open[model] = None
        else:
            self._heal(model)

    def _heal(self, model: _Model) -> None:
        """Only a download that began can have completed."""
        if model not in self._open and model not in self._failed:
            return
        self._open.pop(model, None)
        self._failed.pop(model, None)
        if model == self._current:
            self._current = self._pending_error = None

    def _give_up(self) -> None:
        self._has_spoken = True
        self._end_block()
        model = self._current or (None, None, None)
        if self._current is not None:
            self._open.pop(self._current, None)
        if len(self._failed) < MODELS_MAX:
            self._failed[model] = self._pending_error or self._failed.get(model)
        self._current = self._pending_error = None

    def _rule(self) -> None:
        if self.block is None:
            self.block = []
        else:
            self._end_block()

    def _end_block(self) -> None:
        """A block between two rules is a failure if it reads like one."""
        block, self.block = self.block, None
        text = " ".join(block or ())
        if text and (self._has_spoken or _FAILURE.search(text)):
            self._enter()
            self._pending_error = text[:MESSAGE_CHARACTERS_MAX]


def _name_in(text: str, sentence: tuple[str, str]) -> str | None:
    """The name between the two halves of a sentence that ends its line; None for any other line."""
    before, after = sentence
    if not text.endswith(after):
        return None
    begin = text.find(before)
    begin, end = begin + len(before), len(text) - len(after)
    return text[begin:end] if len(before) <= begin <= end else None
