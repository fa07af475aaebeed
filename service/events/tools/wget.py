"""wget's bars, its lines of dots, and the sentences around them. wget counts in 1024."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from service.events.bounds import STAGE_EVENTS_MAX
from service.events.causes import Cause
from service.events.event_types import Event, Output, Progress, StageComplete, StageStart
from service.events.runs import base_name
from service.events.tools.protocol import MORE, NOT_MINE, Answer, Context, ExitStatus, Tool
from service.events.tools.quantities import amount, byte_count, percent, seconds

BASE = 1024

_LENGTH = re.compile(r"Length: (?:(?P<bytes>\d{1,15})(?: \((?P<text>[\d.,]+[KMGT]?)\))?|unspecified)")
# What begins at the first byte of a line costs linear time, however hostile the line is.
_DATE = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d"
_SPEAKS = re.compile(rf"^(?:--{_DATE}--  |wget: )")
_SAVING = re.compile(r"^Saving to: [‘'\"`“](.+)[’'\"”]$")
_SAVED = re.compile(
    rf"^{_DATE} \([\d.,]{{1,12}} [KMGT]?B/s\) - (?:[‘'\"`“](.+)[’'\"”]|written to stdout) saved \[\d+(?:/\d+)?\]$"
)
_BAR = re.compile(
    r"(?:(?P<percent>\d{1,3})%)? ?\[[ <=>+\-]{2,}\] +(?P<done>[\d.,]{1,20}[KMGT]?)"
    r"(?: +(?P<speed>--\.-[KMGT]?B/s|[\d.,]{1,20} ?[KMGT]?B/s))?"
    r"(?: +(?:eta (?P<eta>[\w. ]{1,20})|in (?P<elapsed>[\w. ]{1,20})))?$"
)
# A bar with a percentage that the next one is drawn over.
_AGAIN = re.compile(
    r"(?P<label>(?:[ -$&-Z^-~]{0,200}[ -$&-/:-Z^-~])?+)(?P<percent>\d{1,3})%\[[ <=>+\-]{2,400}+\] {1,99}+"
    r"(?P<done>[\d.,]{1,20}+[KMGT]?+)(?: {1,99}+(?P<speed>--\.-[KMGT]?B/s|[\d.,]{1,20} ?[KMGT]?B/s))?+"
    r"(?: {1,99}+eta (?P<eta>[\w.]{1,9}+(?: [\w.]{1,9}+)?+))?+ {0,99}+\r",
    re.ASCII,
)
# What can stand before its closing bracket, which is the last one of the line.
_MIDDLE = " <=>+-"
_PERCENT_CHARACTERS_MAX = len("100% ")
_DOTS = re.compile(
    r"^(?P<done>\d{1,15}K) [., ]{10,}+(?:(?P<percent>\d{1,3})% ++)?+(?P<speed>[\d.,]{1,20}[KMGT]?)"
    r"(?: ?=(?P<elapsed>[\w.]{1,20})| (?P<eta>[\w.]{1,20}))?$"
)


@dataclass(frozen=True, slots=True)
class _Length:
    """The size of the file that comes, in wget's words and in bytes."""

    text: str | None = None
    bytes: int | None = None


class Wget(Tool):
    """``wget -q --show-progress`` says nothing but bars: there the first bar of a name begins a file and its last ends
    it."""

    name = "wget"
    commands = ("wget",)
    line_begins = "LSw-0123456789"
    again = _AGAIN
    again_ends = "\r"
    exit_statuses: ClassVar[Mapping[int, ExitStatus]] = {
        1: ExitStatus("wget failed, and its status says no more"),
        2: ExitStatus("wget does not understand its options or its settings"),
        3: ExitStatus("a file could not be read or written", Cause.PERMISSION),
        4: ExitStatus("the network failed", Cause.NETWORK),
        5: ExitStatus("the site's certificate could not be verified", Cause.TLS),
        6: ExitStatus("the site asks for a login", Cause.AUTH_REQUIRED),
        7: ExitStatus("the site broke the protocol", Cause.NETWORK),
        8: ExitStatus("the site answered with an error", Cause.NOT_FOUND),
    }

    def __init__(self, context: Context) -> None:
        self._context = context
        self._length = _Length()
        self._saving: str | None = None
        self._quiet_files: set[str] = set()
        # What the last quiet bar was called, and the same as an event may carry it.
        self._quiet_name: tuple[str | None, str] = (None, context.title)

    def bar(self, text: str) -> Answer:
        if "[" in text:
            found = _bar_in(text)
        elif text[:1].isdecimal():
            found = _DOTS.match(text)
        else:
            return NOT_MINE
        if found is None:
            return NOT_MINE
        of_100, done, speed, eta, elapsed = found.group("percent", "done", "speed", "eta", "elapsed")
        shown = _progress(of_100, done, speed, eta, elapsed, self._length)
        return (shown,) if self._saving is not None else self._quiet_bar(shown, text[: found.start()].strip())

    def redrawn(self, found: re.Match[str]) -> Progress | None:
        label, of_100, done, speed, eta = found.groups()
        if self._saving is None and self._name_of_quiet(label.strip()) not in self._quiet_files:
            return None
        return _progress(of_100, done, speed, eta, None, self._length)

    def _name_of_quiet(self, label: str) -> str | None:
        """The name of the file that a quiet bar is of; None if it is left out until a record names it."""
        if self._context.runs.awaits_name(self.name, label):
            return None
        found = self._context.runs.name_for(self.name, label)
        if found != self._quiet_name[0]:
            self._quiet_name = found, self._context.name(found) if found else self._context.title
        return self._quiet_name[1]

    def _quiet_bar(self, shown: Progress, label: str) -> Answer:
        name = self._name_of_quiet(label)
        if name is None:
            return MORE
        if shown.elapsed is None and name in self._quiet_files:
            return (shown,)
        events: list[Event] = [shown] if name in self._quiet_files else [StageStart(name=name), shown]
        if shown.elapsed is None and len(self._quiet_files) < STAGE_EVENTS_MAX:
            self._quiet_files.add(name)
        elif shown.elapsed is not None:
            self._quiet_files.discard(name)
            if shown.percent in (None, 100):
                events.append(StageComplete(name=name))
        return events

    def line(self, text: str, output: Output) -> Answer:
        if text.startswith("Length: ") and (found := _LENGTH.match(text)) is not None:
            size = found["bytes"]
            self._length = _Length(found["text"] or size, int(size)) if size is not None else _Length()
            return [output]
        if text.startswith("Saving to: ") and (found := _SAVING.match(text)) is not None:
            self._saving = self._context.name(base_name(found[1]))
            return [StageStart(name=self._saving)]
        if text[:1].isdecimal() and (found := _SAVED.match(text)) is not None:
            name = self._context.name(base_name(found[1])) if found[1] else self._saving or self._context.title
            self._saving = None
            return [StageComplete(name=name)]
        return [output] if _SPEAKS.match(text) else NOT_MINE


def _bar_in(text: str) -> re.Match[str] | None:
    end = text.rfind("]")
    if end < 1 or text[end - 1] not in _MIDDLE:
        return None
    begin = text.rfind("[", 0, end)
    return _BAR.search(text, max(0, begin - _PERCENT_CHARACTERS_MAX)) if begin >= 0 else None


def _progress(
    of_100: str | None, done: str, speed: str | None, eta: str | None, elapsed: str | None, total: _Length
) -> Progress:
    if speed is not None and speed.startswith("--"):
        speed = None
    eta = eta.strip() if eta else None
    return Progress(
        "download",
        percent(of_100) if of_100 else None,
        done,
        total.text,
        elapsed.strip() if elapsed else None,
        eta,
        speed,
        byte_count(done, BASE),
        total.bytes,
        amount(speed, BASE) if speed else None,
        seconds(eta),
    )
