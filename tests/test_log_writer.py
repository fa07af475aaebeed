"""The log, when nobody reads it, and when strangers fill it."""

from __future__ import annotations

import contextlib
import logging
import os
import threading

import pytest

from service.log_writer import PROVOKED_LINES_MAX, PROVOKED_SECONDS, WAITING_BYTES_MAX, ThreadedHandler, Throttle


def record(text: str, name: str = "service") -> logging.LogRecord:
    return logging.LogRecord(name, logging.INFO, __file__, 1, text, None, None)


@pytest.mark.timeout(60)
def test_a_pipe_that_nobody_reads_stops_nobody() -> None:
    reading, writing = os.pipe()
    with os.fdopen(writing, "w", encoding="utf-8") as stream:
        handler = ThreadedHandler(stream)
        line = "x" * 999
        count = 3 * WAITING_BYTES_MAX // 1_000
        for n in range(count):
            handler.emit(record(f"{n:06d} {line}"))
        assert handler._waiting_bytes <= WAITING_BYTES_MAX
        received: list[str] = []

        def read() -> None:
            with os.fdopen(reading, encoding="utf-8") as source:
                received.extend(source)

        reader = threading.Thread(target=read)
        reader.start()
        while handler._waiting_bytes:
            handler.flush()
        handler.emit(record("the last"))
        handler.close()
        assert not handler._thread.is_alive()
    reader.join()
    kept = [line for line in received if line[:6].isdigit()]
    assert [int(line[:6]) for line in kept] == list(range(len(kept)))
    (lost,) = (line for line in received if "lines of this log are lost" in line)
    assert int(lost.split()[0]) == count - len(kept) > 0
    assert received[-1] == "the last\n"


def test_a_reader_that_has_left_costs_the_lines_alone() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    stream = os.fdopen(writing, "w", encoding="utf-8")
    handler = ThreadedHandler(stream)
    handler.emit(record("nobody"))
    while handler._waiting_bytes:
        handler.flush()
    assert handler._thread.is_alive()
    handler.close()
    # What is left in its buffer cannot be written either.
    with contextlib.suppress(BrokenPipeError):
        stream.close()


def test_what_strangers_provoke_is_counted_instead_of_said() -> None:
    now = [0.0]
    throttle = Throttle(("aiohttp.server",), clock=lambda: now[0])
    passed = sum(throttle.filter(record("malformed", "aiohttp.server")) for _ in range(1_000))
    assert passed == PROVOKED_LINES_MAX
    assert throttle.filter(record("of the service itself"))
    now[0] += PROVOKED_SECONDS
    next_one = record("malformed", "aiohttp.server")
    assert throttle.filter(next_one)
    assert next_one.__dict__["left_out"] == 1_000 - PROVOKED_LINES_MAX
