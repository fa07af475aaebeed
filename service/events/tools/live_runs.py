"""The runs that live at this place of the log: which of them a bar, a name or a sentence belongs to."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from service.events.event_types import Event, Progress, StageComplete, StageStart

WORDS_MAX = 8
WORD_CHARACTERS_MAX = 500
NAMES_MAX = 4_000
# wget's field for a name has 19 columns; in it, a character of another script takes two columns and two bytes or more.
CUT_NAME_BYTES_MIN = 18
# These draw with tqdm, so tqdm's reader speaks for them.
_DRAWN_BY_TQDM = ("hf", "civitdl")


@dataclass(slots=True, eq=False)
class LiveRun:
    """``name``: the base name of its file, None while that is not known. ``stages``: the names under which its
    download has begun, and whether it is complete. ``bars``: how many bars there had been at its last record.
    ``is_named_later``: it writes one file, and a record says which. ``label``: what its tool's bar calls that file
    until then. ``begun_by_bytes``: the stage that a record of its bytes has begun."""

    token: str
    number: int
    tool: str
    name: str | None
    is_judged: bool
    destination: str | None
    bars: int
    address: str | None = None
    announced_bytes: int | None = None
    bytes: int | None = None
    written_bytes: int | None = None
    is_kept: bool = False
    is_named_later: bool = False
    label: str = ""
    begun_by_bytes: str | None = None
    stages: dict[str, bool] = field(default_factory=dict)
    words: deque[str] = field(default_factory=lambda: deque(maxlen=WORDS_MAX))


class LiveRuns:
    """Attributes what tools print to runs. Several runs mix their lines, so it goes by the name where one is printed,
    else by the tool, the newest silent run first."""

    def __init__(self) -> None:
        self.bars = 0
        self._runs: dict[str, LiveRun] = {}
        # The names that a run's end has settled: what its tool says of them afterwards was said already.
        self._settled: dict[str, None] = {}

    def begin(self, run: LiveRun) -> None:
        self._runs[run.token] = run

    def get(self, token: str) -> LiveRun | None:
        return self._runs.get(token)

    def end(self, token: str) -> LiveRun | None:
        return self._runs.pop(token, None)

    def settle(self, run: LiveRun) -> None:
        if len(self._settled) < NAMES_MAX:
            self._settled |= dict.fromkeys(run.stages)

    def name_for(self, tool: str, shown: str = "") -> str | None:
        """The name of the download that this tool begins. ``shown``: what its bar calls it, perhaps cut short."""
        if not self._runs:
            return None
        runs = [run for run in self._runs.values() if run.tool == tool and run.name is not None]
        if not runs:
            return shown or None if self._has(tool) else None
        if shown:
            runs = [run for run in runs if run.name is not None and run.name.startswith(shown.rstrip("."))]
            return _newest(runs).name if runs else shown
        return _newest(runs).name

    def awaits_name(self, tool: str, shown: str = "") -> bool:
        """Whether a record will name the download that this tool's bar names only as ``shown``: its reader leaves the
        bar out, and the bytes of the run stand for it."""
        if not self._runs or (shown and len(shown.encode()) < CUT_NAME_BYTES_MIN):
            return False
        runs = [run for run in self._runs.values() if run.tool == tool]
        nameless = [run for run in runs if run.name is None and run.is_named_later and not run.stages]
        if not nameless:
            return False
        named = [run for run in runs if run.name is not None and run.name.startswith(shown.rstrip("."))]
        if named and (shown or _newest(runs) not in nameless):
            return False
        nameless[-1].label = shown
        return True

    def admits(self, reader: str, event: Event) -> bool:
        """Take note of what a tool's reader made of a line; False for what was said already."""
        if isinstance(event, Progress):
            self.bars += 1
        elif isinstance(event, StageStart):
            self._settled.pop(event.name, None)
            run = self._run_of(reader, event.name)
            if run is not None and run.begun_by_bytes == event.name:
                run.begun_by_bytes = None
                return False
            if run is not None and len(run.stages) < NAMES_MAX:
                run.stages[event.name] = False
        elif isinstance(event, StageComplete):
            return self._completes(reader, event.name)
        return True

    def speakers(self, line: str) -> list[LiveRun]:
        """The runs that may have printed this line."""
        tool = "curl" if line.startswith("curl: (") else None
        return [run for run in self._runs.values() if tool is None or run.tool == tool]

    def _has(self, tool: str) -> bool:
        return any(run.tool == tool for run in self._runs.values())

    def _completes(self, reader: str, name: str) -> bool:
        run = self._run_of(reader, name)
        if run is not None:
            run.stages[name] = True
            return True
        return name not in self._settled

    def _run_of(self, reader: str, name: str) -> LiveRun | None:
        runs = list(self._runs.values())
        named = [run for run in runs if name in run.stages] or [run for run in runs if run.name == name]
        tools = _DRAWN_BY_TQDM if reader == "tqdm" else (reader,)
        found = named or [run for run in runs if run.tool in tools]
        return _newest(found) if found else None


def _newest(runs: list[LiveRun]) -> LiveRun:
    silent = [run for run in runs if not run.stages]
    return (silent or runs)[-1]
