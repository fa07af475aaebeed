"""(e) The parser: megabytes a second of each kind of output, made by bar_streams.py and line_streams.py. Seconds of the
thread, which a busy machine blurs less."""

from __future__ import annotations

import time

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
    return [
        Row(name=f"(e) parser, {name}", value=speed(raw, repetitions), unit="MB/s") for name, raw in streams.items()
    ]


def speed(raw: bytes, repetitions: int) -> float:
    chunks = [raw[n : n + CHUNK_BYTES] for n in range(0, len(raw), CHUNK_BYTES)]
    seconds = []
    for _ in range(repetitions):
        parser = ProgressParser(resource="a.md", attempt=1, redact=Redactor(SECRETS))
        begin = time.thread_time()
        for chunk in chunks:
            parser.feed(chunk)
        seconds.append(time.thread_time() - begin)
    return len(raw) / 1e6 / median(seconds)
