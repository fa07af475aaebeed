"""The download of one resource: how far its files are, and how fast. Pure: the time comes in.

Each file has its own rate, so that several at once, one after the other, one continued in its middle, and the time
between them disturb no estimate. Where a figure is too coarse to be measured, the tool's own speed counts.
"""

from __future__ import annotations

from math import inf

from service.runner.rate import WINDOW_SECONDS, WINDOW_SECONDS_MIN, Rate

SPEED_SECONDS_MAX = 5.0
SPEED_GAPS_MAX = 1.5
FILES_MAX = 64
# A file that was restarted and silent since: its first try is over.
TRY_SECONDS_MAX = 30.0
# Some tools print nothing of a file's last seconds.
COMPLETE_SHARE = 0.9
# Of ten bars a second each fourth is measured.
MEASURE_SECONDS = 0.35

# Which file does a figure belong to? A tool prints "1.2 GB of 4 GB" and rarely a name, and several downloads of one
# resource mix their lines. So a figure is given to the file that it fits best, in this order (`Download._find`):
#
# 1. An open file of the same total that is not yet beyond the figure, since files only grow: of several, the one whose
#    own speed predicts a figure nearest to this one.
# 2. If all are beyond it, one that is ahead by no more than its last step, and not the last that was heard: two files
#    at the same place may have had their figures swapped, and this swaps them back.
# 3. A finished file that the figure repeats.
# 4. The last file, if only its total has grown: several files that a tool counts as one, learning their sizes by turns.
# 5. None: the figure is smaller than all, so a next file has begun, or a new try of an old one. The old one is dropped
#    once it was silent for TRY_SECONDS_MAX while another of its total began later (`_is_given_up`), unless it was
#    nearly whole, for then it may simply have ended unseen.
#
# Nearly always there is one open file, which was the last that was heard and has grown: then rule 1 has one candidate,
# nothing can be given up, and the figure is taken in constant time (`Download._alone`). A bar does no more than
# that; rates and estimates are made at most every MEASURE_SECONDS, and where a file begins, ends or changes its size.


class Download:
    """One resource, and the files that its tool reports, the last reported one last. ``rate``: the last known."""

    def __init__(self, size: int | None, *, has_begun: bool = False, rate: float | None = None) -> None:
        self.size = size
        self.rate = rate
        self.has_begun = has_begun
        self.has_ended = False
        self._done = 0
        self._files: list[_File] = []
        # The last file, if it is the only one that is open.
        self._alone: _File | None = None
        # When a rate was last measured, and what it was.
        self._measured_at = -inf
        self._measured: float | None = None

    @property
    def is_running(self) -> bool:
        return self.has_begun and not self.has_ended

    def report(self, now: float, downloaded: int, total: int | None, speed: float | None) -> bool:
        """Take a figure. Returns whether a file has begun, ended or changed its size."""
        file = self._alone
        if file is None or downloaded < file.current or (total is not None and total != file.total):
            is_changed = self._report_to_one(now, downloaded, total, speed)
        else:
            file.report(now, downloaded, total, speed)
            is_changed = file.total is not None and downloaded >= file.total
            if is_changed:
                self._alone = None
        # A measurement holds for its own time: one more figure at the same time, as in a pause, is measured as well.
        if is_changed or not 0 < now - self._measured_at < MEASURE_SECONDS:
            self._measure(now)
        return is_changed

    def _report_to_one(self, now: float, downloaded: int, total: int | None, speed: float | None) -> bool:
        self._forget(now)
        file = self._find(now, downloaded, total)
        is_new = file is None
        if file is None:
            file = _File(now, downloaded, total)
        else:
            self._files.remove(file)
        self._files.append(file)
        was_complete, was_total = file.is_complete, file.total
        file.report(now, downloaded, total, speed)
        self._alone = None
        return is_new or file.total != was_total or file.is_complete != was_complete

    def left(self) -> int | None:
        """The bytes that are still to come."""
        if self.has_ended:
            return 0
        at_hand, done, is_known = 0, self._done, len(self._files) > 0
        for file in self._files:
            done += file.current
            if file.total is None:
                is_known = False
            elif file.current < file.total:
                at_hand += file.total - file.current
        # Without a size on the card only the files at hand are known; with one, they may still prove it too small.
        if self.size is not None:
            return max(at_hand, self.size - done)
        return at_hand if is_known else None

    def bytes_per_second(self, now: float) -> float | None:
        if self.has_ended or not self.has_begun:
            return None
        measured = self._measured if now == self._measured_at else self._rate_of_files(now)
        if measured is not None:
            return measured
        # Between two files, and at the beginning of the next, the last rate holds.
        files = self._open_files()
        return self.rate if not files or any(file.is_young(now) for file in files) else None

    def _measure(self, now: float) -> None:
        if self._alone is None:
            files = self._open_files()
            self._alone = files[0] if len(files) == 1 and files[0] is self._files[-1] else None
        self._measured_at, self._measured = now, self._rate_of_files(now)
        if self._measured is not None:
            self.rate = self._measured

    def _rate_of_files(self, now: float) -> float | None:
        """Of all files that run. One that has just begun is assumed to be like the others."""
        if self._alone is not None:
            return self._alone.bytes_per_second(now)
        rates = [(file, file.bytes_per_second(now)) for file in self._open_files()]
        known = [rate for _, rate in rates if rate is not None]
        if not known:
            return None
        young = sum(file.is_young(now) for file, rate in rates if rate is None)
        return sum(known) * (len(known) + young) / len(known)

    def _open_files(self) -> list[_File]:
        # Written out: a tool that loads many small files comes here with each bar.
        return [file for file in self._files if file.total is None or file.current < file.total]

    def _find(self, now: float, downloaded: int, total: int | None) -> _File | None:
        """The file that the figure belongs to, None for a new one: the strategy stands at the head of this file."""
        files = [file for file in self._open_files() if total is None or file.total in (None, total)]
        near = [file for file in files if file.current <= downloaded]
        near = near or [file for file in files if file is not self._files[-1] and file.is_just_above(downloaded)]
        if near:
            return min(near, key=lambda file: (file.surprise(now, downloaded), file.heard_at))
        for file in reversed(self._files):
            if file.current == downloaded and (total is None or file.total in (None, total)):
                return file
        last = self._files[-1] if self._files else None
        if last is None or last.is_complete or last.total is None or total is None:
            return None
        return last if last.total < total and last.current <= downloaded else None

    def _forget(self, now: float) -> None:
        since = now - TRY_SECONDS_MAX
        if any(file.heard_at <= since for file in self._open_files()):
            self._files = [file for file in self._files if not self._is_given_up(file, now)]
        over = max(0, len(self._files) - FILES_MAX + 1)
        self._done += sum(file.current for file in self._files[:over])
        del self._files[:over]

    def _is_given_up(self, file: _File, now: float) -> bool:
        if now - file.heard_at < TRY_SECONDS_MAX or (file.total and file.current >= file.total * COMPLETE_SHARE):
            return False
        return any(other.total == file.total and other.begun_at > file.heard_at for other in self._files)


class _File:
    """One file: how far it is, and how fast. ``heard_at``: when the tool last printed a figure of it."""

    def __init__(self, now: float, current: int, total: int | None) -> None:
        self.current = current
        self.total = total
        self.begun_at = now
        self.heard_at = now
        self._gap_seconds = 0.0
        self._highest = current
        self._growth = 0
        self._printed_speed: float | None = None
        self._rate = Rate()

    @property
    def is_complete(self) -> bool:
        return self.total is not None and self.current >= self.total

    def report(self, now: float, downloaded: int, total: int | None, speed: float | None) -> None:
        growth = downloaded - self._highest
        if growth > 0:
            self._rate.add(now, growth)
            self._highest, self._growth = downloaded, growth
        self._gap_seconds, self.heard_at = now - self.heard_at, now
        # A tool that prints a speed of 0 does not know it yet, or has stopped: the figure shows both.
        self.current, self._printed_speed = downloaded, speed or None
        self.total = total if total is not None else self.total

    def is_young(self, now: float) -> bool:
        return now - self.begun_at < WINDOW_SECONDS

    def surprise(self, now: float, downloaded: int) -> float:
        """How far the figure is from the next one that this file's speed predicts."""
        speed = self._printed_speed if self._printed_speed is not None else self._rate.value(self.heard_at)
        step = (speed or 0.0) * min(now - self.heard_at, SPEED_SECONDS_MAX)
        return abs(downloaded - self.current - step) / (step + 1)

    def is_just_above(self, downloaded: int) -> bool:
        return downloaded < self.current <= downloaded + self._growth

    def bytes_per_second(self, now: float) -> float | None:
        if now - self.begun_at < WINDOW_SECONDS_MIN:
            return None
        if self._printed_speed is not None and self._rate.is_coarse(now):
            silent_seconds_max = max(SPEED_SECONDS_MAX, SPEED_GAPS_MAX * self._gap_seconds)
            if now - self.heard_at <= silent_seconds_max:
                return self._printed_speed
        return self._rate.value(now)
