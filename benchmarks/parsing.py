"""(e) The parser: megabytes a second of each kind of output, made by bar_streams.py and line_streams.py, in big reads,
as a log is read again; and microseconds a bar, each in a read of its own, as a tool that draws is followed. Seconds of
the thread, which a busy machine blurs less."""

from __future__ import annotations

import time
from collections.abc import Sequence

from benchmarks.bar_streams import bar_streams
from benchmarks.line_streams import line_streams
from benchmarks.table import Row, median
from service.events.parser import ProgressParser
from service.events.redaction import Redactor

CHUNK_BYTES = 32_768
# As many as a service has, at least: each line is searched for them.
SECRETS = ("hf_a-secret-of-the-service", "civitai-another-secret-of-it")


async def run(quick: bool) -> list[Row]:
    repetitions = 3 if quick else 9
    streams = bar_streams() | line_streams()
    redrawn = {name: reads for name, raw in bar_streams().items() if (reads := reads_of_a_bar(raw))}
    return [
        *(Row(name=f"(e) parser, {name}", value=speed(raw, repetitions), unit="MB/s") for name, raw in streams.items()),
        *(
            Row(name=f"(e) a bar a read, {name}", value=cost(reads, repetitions), unit="us")
            for name, reads in redrawn.items()
        ),
    ]


def speed(raw: bytes, repetitions: int) -> float:
    """Megabytes a second."""
    chunks = [raw[n : n + CHUNK_BYTES] for n in range(0, len(raw), CHUNK_BYTES)]
    return len(raw) / 1e6 / parsing_seconds(chunks, repetitions)


def parsing_seconds(reads: Sequence[bytes], repetitions: int) -> float:
    """Of this thread, for the whole stream."""
    seconds = []
    for _ in range(repetitions):
        parser = ProgressParser(resource="a.md", attempt=1, redact=Redactor(SECRETS))
        begin = time.thread_time()
        for read in reads:
            parser.feed(read)
        seconds.append(time.thread_time() - begin)
    return median(seconds)


def reads_of_a_bar(raw: bytes) -> list[bytes]:
    """A stream in reads of one bar, as it comes from a tool that draws ten a second; none where no bar is redrawn."""
    begins, *bars = raw.split(b"\r")
    return [begins, *(b"\r" + bar for bar in bars)] if bars else []


def cost(reads: list[bytes], repetitions: int) -> float:
    """Microseconds a read."""
    return parsing_seconds(reads, repetitions) / len(reads) * 1e6
