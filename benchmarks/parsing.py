"""(e) The parser: megabytes a second of bars and of plain lines, the same one again and each another one, and of output
that never ends its line. Seconds of the thread, which a busy machine blurs less."""

from __future__ import annotations

import time

from benchmarks.pieces import bar
from benchmarks.table import Row, median
from service.events.parser import ProgressParser

BAR = "\rModel:  45%|████▌     | 3.65M/8.12M [00:03<00:04, 60.9MiB/s]".encode()
LINE = b"                - Images Directory Path: out/a/Dramatic Lighting Slider/extra_data-vid_6001\n"


OTHER_BARS = b"".join(bar(number) for number in range(1_000))
OTHER_LINES = b"".join(LINE.replace(b"Lighting", b"Lighting %d" % number) for number in range(1_000))


async def run(quick: bool) -> list[Row]:
    size = (1 if quick else 8) << 20
    kinds = (
        ("bars", BAR),
        ("lines", LINE),
        ("other bars", OTHER_BARS),
        ("other lines", OTHER_LINES),
        ("a line without an end", b"x" * 65_536),
    )
    return [Row(name=f"(e) parser, {name}", value=speed(unit, size), unit="MB/s") for name, unit in kinds]


def speed(unit: bytes, size: int) -> float:
    raw = unit * (size // len(unit))
    chunks = [raw[n : n + 32_768] for n in range(0, len(raw), 32_768)]
    seconds = []
    for _ in range(3):
        parser = ProgressParser()
        begin = time.thread_time()
        for chunk in chunks:
            parser.feed(chunk)
        seconds.append(time.thread_time() - begin)
    return len(raw) / 1e6 / median(seconds)
