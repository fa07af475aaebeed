"""(e) The parser: megabytes a second of bars, of plain lines, and of output that never ends its line."""

from __future__ import annotations

import time

from benchmarks.table import Row, median
from service.events.parser import ProgressParser

BAR = "\rModel:  45%|████▌     | 3.65M/8.12M [00:03<00:04, 60.9MiB/s]".encode()
LINE = b"                - Images Directory Path: out/a/Dramatic Lighting Slider/extra_data-vid_6001\n"


async def run(quick: bool) -> list[Row]:
    size = (1 if quick else 8) << 20
    kinds = (("bars", BAR), ("lines", LINE), ("a line without an end", b"x" * 65_536))
    return [Row(name=f"(e) parser, {name}", value=speed(unit, size), unit="MB/s") for name, unit in kinds]


def speed(unit: bytes, size: int) -> float:
    raw = unit * (size // len(unit))
    chunks = [raw[n : n + 32_768] for n in range(0, len(raw), 32_768)]
    seconds = []
    for _ in range(3):
        parser = ProgressParser()
        begin = time.perf_counter()
        for chunk in chunks:
            parser.feed(chunk)
        seconds.append(time.perf_counter() - begin)
    return len(raw) / 1e6 / median(seconds)
