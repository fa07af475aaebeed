"""The short way of a bar that is drawn like the one before it: most bars take it, and it comes to the same."""

from __future__ import annotations

import random
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import pytest

from benchmarks.bar_streams import bar_streams
from benchmarks.parsing import reads_of_a_bar
from service.events.event_types import Event
from service.events.ledger import Evidence
from service.events.lines import LINE_BYTES_MAX, Line
from service.events.parser import REDRAWN_BYTES_MAX, ProgressParser
from service.events.recorded_event import NewEvent
from service.events.tools import tqdm
from service.events.tools.protocol import Tool
from tests.events.golden import TRANSCRIPTS
from tests.events.test_runs import b64, begin, file

READS = {name: reads for name, raw in bar_streams().items() if (reads := reads_of_a_bar(raw))}
MARK = "0123456789abcdef" * 2
ODD = [
    *(
        b"|",
        b"%",
        b"[",
        b"]",
        b" ",
        b"\t",
        b"\r",
        b"\n",
        b"\r\n",
        b"\x1b[1m",
        b"\x1b[A",
        b"\xc2\x9b",
        b"\xff",
        b"7",
        b"?",
        b":",
    ),
    *(b"9" * 12, b" " * 300, b" " * LINE_BYTES_MAX, b"x" * REDRAWN_BYTES_MAX, b"]" * 300, b"[" * 300, b"1.5.5", b"."),
    *(b"images:", b"model:", b"Fetching 2 files:", b"Saving to: 'a'\n", MARK.encode(), b"curl: (18) closed", b"1/2 ["),
    *(b'Now downloading "a"...\n', b'Now downloading "', b'Download completed for "', b"100%[==>] 1K  1B/s  in 1s"),
]

# Runs that begin, get their name and bytes, and end, of tools whose bars say less than these.
RECORDS = [
    f"\n{MARK} {record}\n".encode()
    for tool in ("wget", "curl", "civitdl")
    for record in (
        begin("a", "/m/x.bin", tool=tool),
        begin("b", "/m/y.bin", judged=0, tool=tool),
        f"bytes a 5 {b64('x.bin')}",
        f"grown b 7 {b64('y.bin')}",
        "length a 10",
        file("file", "a", "/m/x.bin", 10),
        "idle a 3",
        "end a 0",
        "end b 8",
        "end c",
    )
]

OTHERS = [
    *(
        (b"MiB/s", b"it/s"),
        (b"it/s", b"MB/s"),
        (b"8.12G", b"812k"),
        (b" 8.12GB", b" 0B"),
        (b"7998M", b"0"),
        (b"<", b"<?"),
    ),
    *(
        (b"Model", b"Images"),
        (b"Model", b"A Model"),
        (b"Model", b"x] y["),
        (b"model-", b"Fetching 2 files"),
        (b": ", b":"),
    ),
    *(
        (b"1c6d1e", b"1c6d1f"),
        (b"model.", b"m.  "),
        (b"eta", b"in"),
        (b"[", b"[ "),
        (b"%", b".0%"),
        (b"(", b" ("),
        (b"]", b" ]"),
    ),
]


class LongWay(ProgressParser):
    """Asks the tools line by line, bracket by bracket, as at the first bar."""

    def _redrawn(self, tool: Tool, chunk: bytes, new: list[NewEvent]) -> bytes:
        return chunk


class Counted(ProgressParser):
    """Counts the lines that took the long way."""

    long_ones = 0

    def _read(self, line: Line) -> Sequence[Event]:
        self.long_ones += 1
        return super()._read(line)


def told(parser: ProgressParser, reads: list[bytes]) -> tuple[list[NewEvent], Evidence, tuple[int | None, int]]:
    parser._room.free_bytes = 7_000_000_000
    events = [new for read in reads for new in parser.feed(read)] + parser.close(0)
    return events, parser.evidence, (parser.announced_too_much, parser._live.bars)


def cut(raw: bytes, chance: random.Random) -> list[bytes]:
    places = sorted(chance.randrange(len(raw) + 1) for _ in range(chance.choice((0, 3, 40, 400))))
    return [raw[begin:end] for begin, end in pairwise([0, *places, len(raw)])]


@pytest.mark.parametrize("name", READS)
def test_nearly_every_bar_takes_the_short_way(name: str) -> None:
    parser = Counted()
    events = [new for read in READS[name] for new in parser.feed(read)]
    assert len(events) > len(READS[name]) - 5
    assert parser.long_ones < len(READS[name]) / 100


@pytest.mark.parametrize("name", [name for name, reads in READS.items() if reads[1].endswith(b"]")])
def test_a_blank_end_of_a_bar_keeps_the_next_from_nothing(name: str) -> None:
    """A bar that is shorter than the one before it is filled up with blanks."""
    parser = Counted()
    for read in READS[name]:
        parser.feed(read + b"   ")
    assert parser.long_ones < len(READS[name]) / 100


@pytest.mark.parametrize("seed", range(60))
def test_the_short_way_comes_to_the_same(seed: int) -> None:
    """However the reads are cut, with odd bytes and bars of other tools between."""
    chance = random.Random(seed)
    others = [read for reads in READS.values() for read in (*reads[:2], chance.choice(reads))]
    for name, reads in READS.items():
        at = chance.randrange(len(reads) - 40)
        bars = [*reads[:3], *reads[at : at + 40]]
        for old, other in chance.sample(OTHERS, chance.randrange(len(OTHERS))):
            since = chance.randrange(len(bars))
            bars[since:] = [bar.replace(old, other) for bar in bars[since:]]
        for _ in range(chance.randrange(8)):
            odd, number = chance.choice(ODD), chance.randrange(len(bars))
            place = chance.randrange(len(bars[number]) + 1)
            bars[number] = bars[number][:place] + odd + bars[number][place + chance.choice((0, 0, 1, 4)) :]
            bars.insert(chance.randrange(len(bars)), chance.choice(others))
        for _ in range(chance.randrange(6)):
            bars.insert(chance.randrange(len(bars)), chance.choice(RECORDS))
        raw = b"".join(bars)
        expected = told(LongWay(mark=MARK), [raw])
        for pieces in (bars, [raw], cut(raw, chance), cut(raw, chance)):
            assert told(ProgressParser(mark=MARK), pieces) == expected, (seed, name)


@pytest.mark.parametrize("path", TRANSCRIPTS, ids=lambda path: path.stem)
def test_the_short_way_of_transcripts_comes_to_the_same(path: Path) -> None:
    chance, raw = random.Random(path.stem), path.read_bytes()
    expected = told(LongWay(), [raw])
    for _ in range(5):
        assert told(ProgressParser(), cut(raw, chance)) == expected


def test_what_is_known_of_labels_is_bounded() -> None:
    parser = ProgressParser()
    for number in range(2_000):
        parser.feed(b"\r%d.bin:  45%%|####5     | 3.65G/8.12G [00:03<00:04, 60.9MB/s]" % number)
    for tool in parser._tools:
        if isinstance(tool, tqdm.Tqdm):
            assert 0 < len(tool._labels) <= tqdm.LABELS_MAX
