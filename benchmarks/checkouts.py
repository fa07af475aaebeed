"""(q) This checkout beside an earlier one, on SQLite, by turns in one run, each turn a process of its own:
``python -m benchmarks.checkouts PATH [--turns 5] [--seconds 2]``.

Both have the same settings of the interpreter, those of this one: what is compared is the store.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from pathlib import Path

from benchmarks import in_checkout
from benchmarks.scratch import scratch
from benchmarks.table import Row, median, show
from service.__main__ import SWITCH_SECONDS
from service.garbage import THRESHOLDS

HERE = Path(__file__).parents[1]
# What is measured, and with how many jobs.
CASES = (("appends", 1), ("appends", 16), ("appends", 128), ("replay", 1))
LEAST = 0.97


async def measured(checkout: Path, what: str, jobs: int, seconds: float) -> float:
    """Events a second of that checkout, on a new file of SQLite. ``what``: of in_checkout.py."""
    with scratch() as folder:
        arguments = (what, str(folder), str(jobs), str(seconds), *map(str, (SWITCH_SECONDS, *THRESHOLDS)))
        return float(await output_in(checkout, in_checkout.__file__, *arguments))


async def output_in(checkout: Path, script: str, *arguments: str) -> str:
    """What this script prints with the modules of that checkout."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", script, *arguments),
        env={**os.environ, "PYTHONPATH": str(checkout)},
        cwd=checkout,
        stdout=asyncio.subprocess.PIPE,
    )
    output, _ = await process.communicate()
    if process.returncode:
        raise RuntimeError(f"{checkout} cannot be measured: its error is above")
    return output.decode()


async def beside(earlier: Path, turns: int, seconds: float) -> list[Row]:
    rows = []
    for what, jobs in CASES:
        found: dict[Path, list[float]] = {HERE: [], earlier: []}
        for turn in range(turns):
            # The one that is first in this turn is last in the next.
            for checkout in (HERE, earlier)[:: 1 if turn % 2 else -1]:
                found[checkout].append(await measured(checkout, what, jobs, seconds))
        for checkout, values in found.items():
            print(f"{what}, {jobs} jobs, {checkout.name}: {', '.join(f'{value:,.0f}' for value in values)}")
        rows.append(row_of(what, jobs, median(found[HERE]), median(found[earlier])))
    return rows


def row_of(what: str, jobs: int, value: float, before: float) -> Row:
    return Row(
        name=f"(q) {what} on SQLite" + (f", {jobs} jobs" if what == "appends" else ""),
        value=value,
        unit="events/s",
        peer="the checkout before",
        peer_value=before,
        goal=f">= {LEAST:g}",
        holds=value >= LEAST * before,
    )


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("earlier", type=Path)
    arguments.add_argument("--turns", type=int, default=5)
    arguments.add_argument("--seconds", type=float, default=2.0)
    given = arguments.parse_args()
    show(asyncio.run(beside(given.earlier.resolve(), given.turns, given.seconds)))


if __name__ == "__main__":
    main()
