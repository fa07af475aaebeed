"""tqdm's bars, as civitdl and many Python tools draw them.

``Model:  45%|####5     | 3.65M/8.12M [00:03<00:04, 60.9MiB/s]``. It counts in thousands, also where it prints ``MiB``.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from service.events.bounds import STAGE_EVENTS_MAX
from service.events.event_types import Event, Output, Progress, StageComplete, StageStart
from service.events.lines import LINE_BYTES_MAX, plain
from service.events.tools.protocol import AFTER_A_BAR, BRACKET_BYTES_MAX, NOT_MINE, Answer, Context, Tool
from service.events.tools.quantities import NUMBER, amount, byte_count, bytes_of, percent, seconds

BAR_BYTES_MAX = 1024  # as wide as a terminal may be, three bytes a column
COUNT_CHARACTERS_MAX = 64
LABEL_CHARACTERS_MAX = 300
LABELS_MAX = 64
BASE = 1000
SPACE = ord(" ")
DIGITS = b"0123456789"

# A bar is read from its end. What stands at its left is anybody's text: a model's name, another bar, half a sentence
# that the bar was drawn over; and how its middle is drawn depends on the locale (█ and ▍, or # and digits) and on the
# terminal's width, down to no middle at all. Its bracket is short and of one form: a clock, perhaps a second one, and a
# rate. So the bracket is matched first, on raw bytes and bounded, and two single bytes are looked at even before that
# (a space to its left, a digit inside it): a line of nothing but brackets costs no more than any other. Only a true
# bracket leads to the counts left of it, which end where the bracket begins, so they are searched backwards from there:
# with a total (``45%|…| 3.65M/8.12M``), else without (``: 3.65MiB``). What is left of the counts is the label. A label
# that ends with civitdl's own word is its stage, and what stood before that word is a line of its own; any other label
# is what the tool calls the file.
_TIME = r"(?:\d{1,5} days?, )?\d[\d:]{1,12}"
_BRACKET = re.compile(
    rf"\[(?P<elapsed>{_TIME})(?:<(?P<remaining>\?|{_TIME}))?, {{0,8}}".encode()
    + rb"(?P<speed>-?(?:[\d.]{1,20}|\?)[ !-+\--/:-Z\\^-~]{0,20})(?:, [^\]]*)?\]"
)
_AMOUNT = r"[\d.]{1,20}\w{0,3}"
_KNOWN_TOTAL = re.compile(rf"(?P<percent>\d{{1,9}})%(?:\|[^|]*\|)? *(?P<done>{_AMOUNT})/(?P<total>{_AMOUNT})$")
_NO_TOTAL = re.compile(r"(?:^|: ?)(?P<done>[\d.]{1,20}[kKMGTPE]?(?:i?B|it|[A-Za-z]{0,12}))$")
# Nearly every bar is whole: an ASCII label, a percentage, the middle, two counts, one blank, the bracket. One pattern
# reads such a bar from the first byte of its line (in latin-1, so that a character is a byte), and comes to the same:
# its label holds neither ``%`` nor ``|`` and ends before the percentage, its middle has no letters, no bracket before
# the last can close another bar, and no control character changes what a person reads.
_WHOLE_BRACKET = (
    rf"\[(?P<elapsed>{_TIME})(?:<(?P<remaining>\?|{_TIME}))?+, {{0,8}}+"
    r"(?P<speed>(?:[\d.]{1,20}+|\?)[!-+\--/:-Z\\^-~]{0,20}+)\]"
)
_WHOLE_COUNT = rf"(?P<done>(?P<number>{NUMBER})(?P<prefix>[kKMGTPE]?+)[A-Za-z]{{0,2}}+)"
_WHOLE = re.compile(
    rf"{AFTER_A_BAR}(?P<label>(?:[ -$&-Z^-{{}}~]{{0,200}}[ -$&-/:-Z^-{{}}~])?+)(?P<percent>\d{{1,9}}+)%"
    rf"\|[ #=>.\d\x80-\xff]{{0,700}}+\| {{0,99}}+{_WHOLE_COUNT}/(?P<total>[\d.]{{1,20}}+[A-Za-z]{{0,3}}+) "
    rf"{_WHOLE_BRACKET}",
    re.ASCII,
)
# The same for a bar without a total, which has no percentage either.
_WHOLE_NO_TOTAL = re.compile(
    rf"{AFTER_A_BAR}(?P<label>[ -$&-Z^-~]{{0,300}}): ?{_WHOLE_COUNT} {{1,99}}+{_WHOLE_BRACKET}", re.ASCII
)
_STAGE = re.compile(r"(?:^|[^\w])(images|model|cache)\s*:?$", re.IGNORECASE)


class Bar(NamedTuple):
    """A bar, and the text that stood before it on its line and does not belong to it. ``label``: what a bar calls
    itself that does not show one of civitdl's stages. ``whole``: what found it whole, from the first byte of its
    line."""

    progress: Progress
    before: str
    label: str = ""
    whole: re.Match[str] | None = None


class Tqdm(Tool):
    """A bar of bytes that has a file's name for its label begins that file, and only exit status 0 completes it."""

    name = "tqdm"
    bracket_begins = DIGITS

    def __init__(self, context: Context) -> None:
        self._context = context
        self._files: dict[str, None] = {}
        self._begun_label = ""
        # By the label of a whole bar, as it was drawn: its stage, and whether there is nothing left to say of a bar of
        # bytes but its progress.
        self._labels: dict[str, tuple[str, bool]] = {}

    def at_bracket(self, line: bytes | bytearray) -> Answer:
        bar = bar_in(line)
        if bar is None:
            return NOT_MINE
        before = self._context.redact(bar.before[:LINE_BYTES_MAX]) if bar.before else ""
        begins = self._begins(bar) if bar.label and bar.label != self._begun_label else []
        if bar.whole is not None and not bar.before:
            self._remember(bar, bar.whole)
        return [*([Output(line=before)] if before else []), *begins, bar.progress]

    def redrawn(self, found: re.Match[str]) -> Progress | None:
        label, of_100, done, number, prefix, total, elapsed, remaining, rate = _parts(found)
        known = self._labels.get(label)
        if known is None:
            return None
        stage, is_begun = known
        if not is_begun and _rate(rate)[1]:
            return None
        # The pattern has told the number from its prefix: nothing is left to find in the text.
        return _progress(stage, of_100, done, total, elapsed, remaining, rate, bytes_of(number, prefix, BASE))

    def completed(self) -> Sequence[Event]:
        return [StageComplete(name=name) for name in self._files]

    def _remember(self, bar: Bar, whole: re.Match[str]) -> None:
        """How the next bar will probably be drawn. civitdl counts images in bytes, which are none."""
        if bar.progress.stage == "images":
            return
        if len(self._labels) >= LABELS_MAX:
            self._labels.clear()
        self.again = whole.re
        self._labels[whole["label"]] = bar.progress.stage, not bar.label or bar.progress.downloaded_bytes is not None

    def _begins(self, bar: Bar) -> list[Event]:
        if bar.progress.downloaded_bytes is None:
            return []
        self._begun_label = bar.label
        # A label may be an address, shortened from the left.
        name = self._context.name(bar.label.rstrip(": ").rpartition("/")[2].strip())
        if not name or name in self._files or len(self._files) >= STAGE_EVENTS_MAX:
            return []
        self._files[name] = None
        return [StageStart(name=name)]


def bar_in(line: bytes | bytearray) -> Bar | None:
    """The bar that ends with this line's last byte, which is a ``]``."""
    begin = line.rfind(b"[", max(0, len(line) - BRACKET_BYTES_MAX))
    if begin < 1 or line[begin - 1] != SPACE or line[begin + 1] not in DIGITS:
        return None
    text = line.decode("latin-1") if len(line) < BAR_BYTES_MAX else ""
    whole = _WHOLE.fullmatch(text) or _WHOLE_NO_TOTAL.fullmatch(text)
    if whole is not None:
        label, of_100, done, _, _, total, elapsed, remaining, rate = _parts(whole)
        before, stage, own_label = _label(label.strip())
        return Bar(_progress(stage, of_100, done, total, elapsed, remaining, rate), before, own_label, whole)
    bracket = _BRACKET.fullmatch(line, begin)
    if bracket is None:
        return None
    near = plain(bytes(line[max(0, begin - BAR_BYTES_MAX) : begin]))
    counts = (_KNOWN_TOTAL.search(near) if "%" in near else None) or _count_in(near[-COUNT_CHARACTERS_MAX:])
    if counts is None:
        return None
    left = near if begin <= BAR_BYTES_MAX else plain(bytes(line[:begin]))
    before, stage, own_label = _label(left[: len(left) - (len(counts.string) - counts.start())].rstrip())
    of_100, done, total = counts.groups() if counts.re is _KNOWN_TOTAL else (None, counts[1], None)
    elapsed, remaining, rate = map(_ascii, bracket.groups())
    return Bar(_progress(stage, of_100, done, total, elapsed, remaining, rate), before, own_label)


def _parts(whole: re.Match[str]) -> tuple[Any, ...]:
    """Label, percentage, count (and its number and prefix), total, the two times and the rate of a bar that is whole;
    None for what it does not have."""
    if whole.re is not _WHOLE_NO_TOTAL:
        return whole.groups()
    label, done, number, prefix, elapsed, remaining, rate = whole.groups()
    return label, None, done, number, prefix, None, elapsed, remaining, rate


def _count_in(near: str) -> re.Match[str] | None:
    """The count without a total: after the last colon, or all of it."""
    return _NO_TOTAL.match(near, max(0, near.rfind(":")))


def _ascii(part: bytes | None) -> str | None:
    return part.decode("ascii").strip() if part is not None else None


@lru_cache(maxsize=64)
def _label(label: str) -> tuple[str, str, str]:
    """The text before the bar, the stage that the label names, and what else the bar calls itself."""
    found = _STAGE.search(label)
    if found is None:
        return "", "download", label.rpartition("\n")[2].strip()[-LABEL_CHARACTERS_MAX:]
    return label[: found.start(1)].strip(), found[1].lower(), ""


def _progress(
    stage: str,
    of_100: str | None,
    done: str,
    total: str | None,
    elapsed: str | None,
    remaining: str | None,
    rate: str | None,
    done_bytes: int | None = None,
) -> Progress:
    """``done_bytes``: what ``done`` says, where that is known already."""
    speed, is_bytes, bytes_per_second = _rate(rate)
    if stage == "images":
        is_bytes, bytes_per_second = False, None
    remaining, eta_seconds = _remaining(remaining)
    return Progress(
        stage,
        percent(of_100) if of_100 is not None else None,
        done,
        total,
        elapsed,
        remaining,
        speed,
        (_bytes(done) if done_bytes is None else done_bytes) if is_bytes else None,
        _bytes(total) if is_bytes and total is not None else None,
        bytes_per_second,
        eta_seconds,
    )


@lru_cache(maxsize=2048)
def _bytes(count: str) -> int | None:
    return byte_count(count, BASE)


@lru_cache(maxsize=2048)
def _remaining(text: str | None) -> tuple[str | None, float | None]:
    """The time that is left and its seconds. What tqdm does not know yet it prints as ``?``."""
    return (None, None) if text is None or text.startswith("?") else (text, seconds(text))


@lru_cache(maxsize=2048)
def _rate(rate: str | None) -> tuple[str | None, bool, float | None]:
    """The rate, whether a bar with it counts bytes, and how many a second. A slow bar prints seconds a byte."""
    shown = None if rate is None or rate.startswith("?") else rate
    if rate is None or not rate.endswith(("B/s", "s/iB", "s/B")):
        return shown, False, None
    value = amount(rate, BASE)
    if value is None or "B/s" in rate:
        return shown, True, value
    return shown, True, 1 / value if value else None
