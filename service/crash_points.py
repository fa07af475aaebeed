"""Fault injection: ``INSTALLER_CRASH_AT=<point>:<n>`` ends the process as ``kill -9`` would, when it comes to the
point for the n-th time; ``<point>:<n>:stop`` puts it to sleep there, until it is woken by SIGCONT. Without the variable
a point costs one comparison.

The points lie on the path of a line: around the parser, the append, the commit and the emit, before an attempt is
launched, before its verdict is recorded, around the record of a control and around its signal to the instance, and
around the removal of files. This module alone reads its variable, so that nothing has to pass it on.
"""

from __future__ import annotations

import os
import signal

POINTS = (
    "before_launch",
    "before_parse",
    "after_parse",
    "before_append",
    "after_append",
    "after_commit",
    "after_emit",
    "before_verdict",
    "before_control",
    "after_control",
    "before_signal",
    "after_signal",
    "before_removal",
    "after_removal",
)
VARIABLE = "INSTALLER_CRASH_AT"


class _Bomb:
    """Counts down at one point."""

    def __init__(self, wanted: str) -> None:
        self.point, *rest = wanted.split(":")
        self._left = int(rest[0]) if rest else 1
        self._signal = signal.SIGSTOP if rest[1:] == ["stop"] else signal.SIGKILL
        if self.point not in POINTS:
            raise ValueError(f"{VARIABLE}={wanted}: the points are {', '.join(POINTS)}")

    def reached(self) -> None:
        self._left -= 1
        if self._left == 0:
            os.kill(os.getpid(), self._signal)


_bomb = _Bomb(os.environ[VARIABLE]) if VARIABLE in os.environ else None


def crash_point(name: str) -> None:
    """The process may end here."""
    if _bomb is not None and _bomb.point == name:
        _bomb.reached()
