"""The loop watchdog sees what it is there for: it is looked at in a process of its own, where a trip fails no test."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.kit.loop_watch import ROOT

# `{work}` runs on the loop in a task called "the task".
PROGRAM = """
import asyncio, subprocess, sys, time
from pathlib import Path
from tests.kit.loop_watch import LoopWatch, watch_asyncio

watch = LoopWatch(Path(sys.argv[1]), whole_process={whole_process})
watch_asyncio(watch)
watch.start()

def spin(seconds):
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass

async def work():
    {work}

async def main():
    await asyncio.create_task(work(), name="the task")

asyncio.run(main())
"""


def trips(folder: Path, work: str, *, whole_process: bool = True, file: str = "program.py") -> list[dict[str, Any]]:
    program = folder / file
    program.parent.mkdir(parents=True, exist_ok=True)
    program.write_text(PROGRAM.format(work=work, whole_process=whole_process), encoding="utf-8")
    report = folder / "report"
    subprocess.run([sys.executable, str(program), str(report)], check=True, cwd=ROOT, env={"PYTHONPATH": str(ROOT)})
    return [json.loads(line) for line in report.read_text(encoding="utf-8").splitlines()]


def test_a_callback_that_takes_long_is_named(tmp_path: Path) -> None:
    (trip,) = trips(tmp_path, "spin(0.3)")
    assert trip["kind"] == "slow"
    assert "task the task: work" in trip["what"]
    assert any("spin" in place for stack in trip["stacks"] for place in stack)


@pytest.mark.parametrize("work", ["spin(0.02)", "await asyncio.sleep(0.3)", "await asyncio.to_thread(spin, 0.3)"])
def test_what_leaves_the_loop_free_is_fine(tmp_path: Path, work: str) -> None:
    assert trips(tmp_path, work) == []


def test_code_of_others_is_not_looked_at_where_it_shares_the_process(tmp_path: Path) -> None:
    assert trips(tmp_path, "spin(0.3)", whole_process=False) == []
