"""What draws the bars of all jobs: one process, into the logs of the attempts.

In the world that this stands for, each instance draws its own bars and is another machine. A process for each here
would take a quarter of a core that is missing to the service. The attempts run and print nothing; this process appends
to their logs what they would have printed. Each stream has its own moment within the interval, by chance, since
instances know nothing of each other: with the same seed in each run, so that runs can be compared.

``python -m benchmarks.drawer`` reads the paths of the logs, a line each, up to the end of its input, and draws until it
is killed.
"""

from __future__ import annotations

import asyncio
import os
import random
import re
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

BARS_A_SECOND = 10
INTERVAL_SECONDS = 1 / BARS_A_SECOND
# As civitdl draws it; instead of the bytes the time.
BAR = "Model:  45%%|####5     | %.6f/9999999999.0 [00:03<00:04, 60.9MiB/s]"
DRAWN = re.compile(rb"\| (\d+\.\d{6})/9999999999\.0 \[")
SEED = 1
# A sleep is longer than it should be by about this much.
SLEEP_SECONDS_MIN = 0.0003


def draw(paths: Sequence[str]) -> None:
    """For ever."""
    chance = random.Random(SEED)
    logs = [os.open(path, os.O_WRONLY | os.O_APPEND) for path in paths]
    moments = sorted((chance.uniform(0, INTERVAL_SECONDS), log) for log in logs)
    begin = time.time()
    while True:
        for moment, log in moments:
            early = begin + moment - time.time()
            if early > SLEEP_SECONDS_MIN:
                time.sleep(early)
            os.write(log, b"\r" + (BAR % time.time()).encode())
        begin += INTERVAL_SECONDS


@asynccontextmanager
async def drawing(logs: Sequence[Path]) -> AsyncIterator[int]:
    """Within the block, something draws into these logs: its process."""
    command = (sys.executable, "-S", "-m", "benchmarks.drawer")
    process = await asyncio.create_subprocess_exec(*command, stdin=subprocess.PIPE)
    assert process.stdin is not None
    try:
        process.stdin.write("\n".join(map(str, logs)).encode())
        process.stdin.close()
        yield process.pid
    finally:
        process.kill()
        await process.wait()


def drawn_at(log: Path) -> list[float]:
    """When each bar of this log was drawn."""
    return [float(found) for found in DRAWN.findall(log.read_bytes())]


if __name__ == "__main__":
    draw(sys.stdin.read().splitlines())
