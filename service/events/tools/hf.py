"""What ``hf download`` of huggingface_hub 2.4 prints off a terminal. It counts in thousands.

For one file it draws a tqdm bar whose label is the file's address, which the reader of tqdm takes; for several files a
count of files and two lines of its own, redrawn.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import ClassVar

from service.events.event_types import Event, Progress, StageComplete, StageStart
from service.events.ledger import MESSAGE_CHARACTERS_MAX, ToolFailure
from service.events.tools import tqdm
from service.events.tools.protocol import MORE, NOT_MINE, Answer, Context, ExitStatus, Package, Tool
from service.events.tools.quantities import byte_count, percent

BASE = 1000

_FETCHING_MARK = b"Fetching "
_FETCHING = re.compile(r"^Fetching \d{1,9} files:?$")
# It ends with status 0 after this sentence: what lay in the folder before is all there is.
_NOT_DOWNLOADED = "Returning existing local_dir "
_SIZE = r"[\d.]{1,20}[kMGTP]?B"
_FILES = re.compile(
    rf"^Reconstruct(?:ing|ion)\b[^|]{{0,60}}?:\s*(?:(?P<percent>\d{{1,3}})%)?\|[^|]*\|\s*(?P<done>{_SIZE})"
    rf"(?: /\s*(?P<total>{_SIZE}))?\s*(?:✓ Downloaded)?$"
)
# The same, where the next one is drawn over it.
_AGAIN = re.compile(
    r"Reconstructi(?:ng|on)(?: [ \w]{0,50})?: {0,3}+(?:(?P<percent>\d{1,3})%)?+\|[ #\d\x80-\xff]{0,400}+\|"
    rf" {{0,99}}+(?P<done>{_SIZE})(?: / {{0,99}}+(?P<total>{_SIZE}))?+ {{0,99}}+(?:\x1b\[A)?+\r",
    re.ASCII,
)
# The bytes that came over the network: the same as the files', without those that were there already.
_NETWORK = re.compile(rf"^Download(?:ing bytes| complete):[^|]*\|\s*{_SIZE}\s*$")


class Hf(Tool):
    """All files of one download are one stage, and only exit status 0 completes it."""

    name = "hf"
    commands = ("hf",)
    bar_begins = "DR"
    bracket_begins = tqdm.DIGITS
    again = _AGAIN
    again_ends = "\r"
    package = Package(name="huggingface_hub", version="2.4.0")
    exit_statuses: ClassVar[Mapping[int, ExitStatus]] = {
        1: ExitStatus("hf failed, and its status says no more"),
        2: ExitStatus("hf does not understand its options"),
    }

    def __init__(self, context: Context) -> None:
        self._context = context
        self._has_begun = False
        self._not_downloaded: str | None = None

    def at_bracket(self, line: bytes | bytearray) -> Answer:
        """The count of files is not a bar of a file."""
        if _FETCHING_MARK not in line:
            return NOT_MINE
        bar = tqdm.bar_in(line)
        return MORE if bar is not None and _FETCHING.match(bar.label) else NOT_MINE

    def bar(self, text: str) -> Answer:
        if _NETWORK.match(text):
            return MORE
        found = _FILES.match(text)
        if found is None:
            return NOT_MINE
        if self._has_begun:
            return (_progress(found),)
        self._has_begun = True
        return [StageStart(name=self._context.title), _progress(found)]

    def redrawn(self, found: re.Match[str]) -> Progress | None:
        return _progress(found) if self._has_begun else None

    def overhear(self, shown: str) -> None:
        """The sentence that confesses a failure goes on over several lines."""
        if shown.startswith(_NOT_DOWNLOADED):
            self._not_downloaded = shown
        elif self._not_downloaded is not None and len(self._not_downloaded) < MESSAGE_CHARACTERS_MAX:
            self._not_downloaded += f" {shown}"

    def completed(self) -> Sequence[Event]:
        return [StageComplete(name=self._context.title)] if self._has_begun else []

    def failures(self) -> Sequence[ToolFailure]:
        if self._not_downloaded is None:
            return ()
        return (ToolFailure(tool=None, name=None, error=self._not_downloaded[:MESSAGE_CHARACTERS_MAX]),)


def _progress(found: re.Match[str]) -> Progress:
    """All files of one download together; the total grows until all of them are known."""
    of_100, done, total = found.groups()
    total_bytes = (byte_count(total, BASE) or None) if total else None
    return Progress(
        "download",
        percent(of_100) if of_100 and total_bytes else None,
        done,
        total if total_bytes else None,
        None,
        None,
        None,
        byte_count(done, BASE),
        total_bytes,
    )
