"""What a tool offers to the parser: its readers, its evidence, its exit statuses and its commands."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import ClassVar, Final, Protocol

from service.events.causes import Cause
from service.events.event_types import Event, Output, Progress
from service.events.ledger import ToolFailure
from service.events.room import Room
from service.events.tools.live_runs import LiveRuns

NAME_CHARACTERS_MAX = 500
# A bar's bracket is shorter.
BRACKET_BYTES_MAX = 300
# Where a bracket ends a bar, `again` begins with this: the rest of the bar's own line, which is blank.
AFTER_A_BAR = r"(?: {0,200}+[\r\n])?+"

Answer = Sequence[Event] | None
"""Events, ``MORE`` or ``NOT_MINE``: the package's docstring says what each means."""
NOT_MINE: Final = None
MORE: Final = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """What a tool has to know of the attempt. ``title``: names a download whose tool names none. ``redact``: takes
    secrets out of a text; every text from the output goes through it before it enters an event. ``mark``: what the
    records of runs begin with, None where there are none. ``runs``: the live ones. ``room``: the free bytes on the
    instance; ``estimate_bytes``: the size that the card gives."""

    title: str
    redact: Callable[[str], str]
    mark: str | None = None
    runs: LiveRuns = field(default_factory=LiveRuns)
    room: Room = field(default_factory=Room)
    estimate_bytes: int | None = None

    def name(self, raw: str) -> str:
        """The name of a download, as an event may carry it."""
        return self.redact(raw)[:NAME_CHARACTERS_MAX]

    def name_for(self, tool: str, shown: str = "") -> str:
        """The name of the download that this tool begins without naming it, or as ``shown``, perhaps cut short."""
        found = self.runs.name_for(tool, shown)
        return self.name(found) if found else self.title


@dataclass(frozen=True, slots=True)
class ExitStatus:
    """What a tool says with an exit status, in words that complete "exit status 4: …". ``cause`` None: it means many
    things."""

    meaning: str
    cause: Cause | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Package:
    """What an instance that lacks the tool installs with pip. ``version``: the one that this service was tried with."""

    name: str
    version: str


class Tool(Protocol):
    """The reader of one tool's output during one attempt. A tool overrides only what it has: the parser asks for a
    bar, for instance, only the tools that draw one."""

    name: ClassVar[str]
    commands: ClassVar[tuple[str, ...]] = ()
    """Its names on a command line; ``scripts/tools/<name>.sh`` says how the instance runs them."""
    package: ClassVar[Package | None] = None
    exit_statuses: ClassVar[Mapping[int, ExitStatus]] = MappingProxyType({})
    """What its exit statuses mean, for the verdict on a tool whose words named no cause."""
    unbroken: ClassVar[tuple[bytes, ...]] = ()
    """Where one of these stands in a line, no bar ends it before its newline: a name may hold a whole bar."""

    bracket_begins: ClassVar[bytes] = b""
    """The bytes that can follow the last ``[`` of a line that ``at_bracket`` takes: it is shown no other line, except
    for those with escapes or control characters."""
    bar_begins: ClassVar[str | None] = None
    """The characters that a line which ``bar`` takes can begin with, None for any: it is shown no other line, except
    for those that begin beyond ASCII."""
    line_begins: ClassVar[str | None] = None
    """The same for ``line``."""
    line_ends: ClassVar[str | None] = None
    """The characters that a line which ``line`` takes can end with, None for any: it is shown no other line."""

    again: re.Pattern[str] | None = None
    """What a whole bar looks like that is drawn like the tool's last one, from the first byte of its line to the byte
    that ends it, in latin-1. No other tool would take what it matches, and no bracket before its end could close a bar.
    Each repetition is bounded: a match is shorter than a line may be, and linear in what it looks at."""
    again_ends: ClassVar[str] = "]"
    """That last byte."""

    def __init__(self, context: Context) -> None: ...

    def at_bracket(self, line: bytes | bytearray) -> Answer:
        """Asked at each ``]``, with the raw line so far. An answer other than NOT_MINE ends the line there, as a bar.
        It must look at a bounded end of the line first: this is the hottest question of all. And its answer may not
        depend on the bars before it on the line: they may be read after it."""
        return NOT_MINE

    def redrawn(self, found: re.Match[str]) -> Progress | None:
        """The next bar of a download that has begun, which ``again`` found: all that ``at_bracket`` or ``bar`` would
        answer to its line. None where they have more to say: then they are asked."""
        return None

    def bar(self, text: str) -> Answer:
        """A line that the tool redraws. An ``Output`` at the end of the answer is what followed on the bar's line."""
        return NOT_MINE

    def line(self, text: str, output: Output) -> Answer:
        """Any other line. ``text``: as the tool printed it, without colours. ``output``: the same, redacted and
        bounded, as the event that it is unless the tool makes more of it."""
        return NOT_MINE

    def overhear(self, shown: str) -> None:
        """Every line that is not a bar, redacted and bounded, whoever takes it; only for evidence."""

    def completed(self) -> Sequence[Event]:
        """What only an exit status of 0 completes; asked once, after the last line."""
        return ()

    def failures(self) -> Sequence[ToolFailure]:
        """What failed by the tool's own account; asked after the last line."""
        return ()
