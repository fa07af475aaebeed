"""Watchers by the thousand, as the long tests have them: ``python -m benchmarks.crowds [subscribers|late|followers]``.

Prints seconds and the memory of the service; fails if one of the watchers does not hold 1..N. The clients need 20,000
open files, and so does the service.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path

from tests.e2e.conftest import World
from tests.e2e.test_many_watchers import FILES, late, live
from tests.kit.crowd import many_descriptors
from tests.kit.subscribers import Client, Follower

RUNS: dict[str, Callable[[World], Awaitable[float]]] = {
    "subscribers": lambda world: live(world, Client, 10_000, 400, 20),
    "late": lambda world: late(world, 1_000, 100_000),
    "followers": lambda world: live(world, Follower, 1_000, 400, 20),
}


async def main(names: list[str]) -> None:
    for name in names or RUNS:
        with tempfile.TemporaryDirectory() as folder, many_descriptors(FILES):
            world = World(Path(folder))
            try:
                await world.start()
                await RUNS[name](world)
            finally:
                await world.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1:]))
