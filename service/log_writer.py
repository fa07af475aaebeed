"""Writes the log without waiting for its reader, and keeps its flood down.

Standard error is often a pipe. When nobody reads it, a write waits for ever, and the whole service with it, since every
line is written where it is logged. So a thread writes, from a queue with a bound; lines beyond it are lost, and their
number is said in the next line that gets through. A file is never waited for long, but a terminal can be stopped by one
key: everything but a stream in memory is written by the thread.
"""

from __future__ import annotations

import atexit
import contextlib
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import IO

WAITING_BYTES_MAX = 4 << 20
# At its end the process waits so long for the last lines.
LAST_SECONDS_MAX = 1.0
PROVOKED_LINES_MAX = 20
PROVOKED_SECONDS = 10.0


def log_handler(stream: IO[str]) -> logging.Handler:
    """A handler that writes to this stream."""
    try:
        stream.fileno()
    except OSError:
        return logging.StreamHandler(stream)
    return ThreadedHandler(stream)


class ThreadedHandler(logging.Handler):
    """``emit`` never waits. ``close`` waits for the last lines, for a bounded time."""

    def __init__(self, stream: IO[str]) -> None:
        super().__init__()
        self._stream = stream
        self._lines: deque[str] = deque()
        self._waiting_bytes = 0
        self._writing_bytes = 0
        self._lost = 0
        self._is_closing = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._write_all, name="log-writer", daemon=True)
        self._thread.start()
        atexit.register(self.close)

    def emit(self, record: logging.LogRecord) -> None:
        try:
            line = self.format(record) + "\n"
        except Exception:  # noqa: BLE001 - a line that cannot be made must not end its caller
            self.handleError(record)
            return
        with self._changed:
            if self._waiting_bytes + len(line) > WAITING_BYTES_MAX:
                self._lost += 1
                return
            self._lines.append(line)
            self._waiting_bytes += len(line)
            self._changed.notify_all()

    def flush(self) -> None:
        """Until everything is written, for a bounded time."""
        with self._changed:
            self._changed.wait_for(lambda: not self._waiting_bytes, LAST_SECONDS_MAX)

    def close(self) -> None:
        atexit.unregister(self.close)
        with self._changed:
            self._is_closing = True
            self._changed.notify_all()
        self._thread.join(LAST_SECONDS_MAX)
        super().close()

    def _write_all(self) -> None:
        while (lines := self._next()) is not None:
            # A reader that has left costs the lines, not the service.
            with contextlib.suppress(OSError, ValueError):
                self._stream.write("".join(lines))
                self._stream.flush()
            with self._changed:
                self._waiting_bytes -= self._writing_bytes
                self._changed.notify_all()

    def _next(self) -> list[str] | None:
        """All lines that wait; None at the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._lines or self._is_closing)
            lines = list(self._lines)
            self._lines.clear()
            self._writing_bytes = self._waiting_bytes
            lost, self._lost = self._lost, 0
        if lost:
            lines.append(self._line_about(lost))
        return lines or None

    def _line_about(self, lost: int) -> str:
        message = "%d lines of this log are lost: nobody read it in time"
        record = logging.LogRecord(__name__, logging.WARNING, __file__, 0, message, (lost,), None)
        return self.format(record) + "\n"


class Throttle(logging.Filter):
    """Of what some loggers say, so many lines in so many seconds; the next line after that says how many were left
    out."""

    def __init__(self, names: Sequence[str], clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._names = tuple(names)
        self._clock = clock
        self._begin = clock()
        self._count = 0

    def filter(self, record: logging.LogRecord) -> bool:
        if not record.name.startswith(self._names):
            return True
        now = self._clock()
        if now - self._begin >= PROVOKED_SECONDS:
            if self._count > PROVOKED_LINES_MAX:
                record.left_out = self._count - PROVOKED_LINES_MAX
            self._begin, self._count = now, 0
        self._count += 1
        return self._count <= PROVOKED_LINES_MAX
