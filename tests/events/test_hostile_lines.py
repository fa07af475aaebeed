"""No line, however it is made, costs more than its length.

Growth is compared, not speed: the same bytes as one long line and as many short ones. Where every character costs the
same the two cost the same; where a pattern goes back over what it has read, the long line costs a multiple.
"""

from __future__ import annotations

import time
from itertools import product

import pytest

from service.events.lines import BRACKETS_MAX, LINE_BYTES_MAX, LineSplitter
from service.events.parser import ProgressParser
from service.events.redaction import Redactor
from service.runner.instance.ended import Ended
from service.runner.outcome import judge

SHORT_BYTES = LINE_BYTES_MAX // 16
GROWTH_MAX = 3
NOISE_SECONDS = 0.005
TRIES = 10

# After a bar the next line is first compared with it.
BARS = [
    b"Model:  45%|####5     | 3.65M/8.12M [00:03<00:04, 60.9MiB/s]\r",
    b"Model: 3.65MiB [00:03, 60.9MiB/s]\r",
    b"[#5d9bde 2.8MiB/8.1MiB(35%) CN:1 DL:2.8MiB ETA:1s]\r",
    b"x  7%[=>     ] 593.94K  2.85MB/s    eta 2s\r",
    b"% Total % Received % Xferd\r 45 8312k   45 3808k    0     0  3114k      0  0:00:02  0:00:01  0:00:01 3114k\r",
    b"###                     12.5%\r",
    b"Reconstructing:  45%|####      | 0.01GB / 8.12GB  \r",
]
PREFIXES = [
    *BARS,
    b"",
    b"1K ",
    b"authorization: ",
    b"api_key ",
    b"--token ",
    b"password:",
    b"Saving to: '",
    b"2026-11-23 12:34:58 (1 KB/s) - '",
    b"x 1%[",
    b"\x1b[",
    b"Length: ",
    b"100 1",
    b"# ",
    b"1%|a| 1",
    b'Now downloading "',
    b"11/23 12:35:12 [NOTICE] Download complete: ",
    b"?token=",
    b"a://",
    b"curl: (6) ",
    b"% Total % Received % Xferd\r0 ",
    b"---------\n",
]
UNITS = [
    b" ",
    b"\t",
    b"1",
    b".",
    b"a",
    b"'",
    b"=",
    b"/",
    b"@",
    b"]",
    b"[",
    b"#",
    b"0 ",
    b"1%|",
    b"|1%",
    b"1K ",
    b" [00,1]",
    b"[00:00<00:00, 1B/s]",
    b" [00,1B/s]",
    b"[==] 1 ",
    b"-=O",
    b"\x1b]",
    b"model ",
    b"password ",
    b"api_key: ",
    b"https://a",
    b"a=b&token",
    b"0: 1",
    b"Model:  45%|####5     | ",
    b"1% | ",
    b"0 1k ",
    b"Reconstructing: |",
    b"Saving to: '",
    b'Now downloading "',
    b"(1 KB/s) - 'a",
    b"authorization: ",
    b"Exception",
]
SUFFIXES = [b"x", b"x]"]


def seconds_of(line: bytes, times: int) -> float:
    raw = line * times
    parser = ProgressParser(redact=Redactor(["some-secret"]))
    begin = time.process_time()
    parser.feed(raw)
    judge(parser.evidence, Ended(exit_code=1))
    return time.process_time() - begin


@pytest.mark.slow
@pytest.mark.parametrize("bar", BARS)
def test_small_reads_of_a_long_line_cost_no_more_than_those_of_short_ones(bar: bytes) -> None:
    """What is read again at a read, of the line so far, is bounded."""
    for unit in UNITS:
        long, short = (line_of(b"", unit, b"", size) for size in (LINE_BYTES_MAX, SHORT_BYTES))
        for _ in range(TRIES):
            if seconds_of_reads(bar, long) < GROWTH_MAX * seconds_of_reads(bar, short * (len(long) // len(short))):
                break
        else:
            pytest.fail(f"{unit!r} after {bar!r}")


def seconds_of_reads(bar: bytes, raw: bytes) -> float:
    parser = ProgressParser()
    parser.feed(bar)
    parser.feed(bar)
    begin = time.process_time()
    for at in range(0, len(raw), 8):
        parser.feed(raw[at : at + 8])
    return time.process_time() - begin


def line_of(prefix: bytes, unit: bytes, suffix: bytes, size: int) -> bytes:
    return prefix + unit * ((size - len(prefix) - len(suffix)) // len(unit)) + suffix + b"\n"


@pytest.mark.slow
@pytest.mark.parametrize("prefix", PREFIXES)
def test_a_long_line_costs_no_more_than_its_bytes_in_short_ones(prefix: bytes) -> None:
    for unit, suffix in product(UNITS, SUFFIXES):
        long, short = (line_of(prefix, unit, suffix, size) for size in (LINE_BYTES_MAX, SHORT_BYTES))
        for _ in range(TRIES):  # a busy machine may disturb one measurement, never all of them
            cost = seconds_of(long, 1)
            if cost < NOISE_SECONDS or cost < GROWTH_MAX * seconds_of(short, LINE_BYTES_MAX // SHORT_BYTES):
                break
        else:
            pytest.fail(f"{unit!r} after {prefix!r}: {cost:.3f} s for {LINE_BYTES_MAX} bytes")


def test_a_line_of_brackets_is_asked_for_a_bar_a_bounded_number_of_times() -> None:
    asked = 0

    def at_bracket(line: bytes | bytearray) -> None:
        nonlocal asked
        asked += 1

    splitter = LineSplitter(at_bracket)
    assert len(list(splitter.feed(b"]" * LINE_BYTES_MAX + b"\n"))) == 1
    assert asked == BRACKETS_MAX
    assert len(list(splitter.feed(b"]\n"))) == 1
    assert asked == BRACKETS_MAX + 1
