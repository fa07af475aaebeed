"""Output without end, sense or newlines: bounded in memory and in the log, and the outcome is right."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from service.events.bounds import OUTPUT_LINES_MAX, PROGRESS_EVENTS_FULL
from tests.e2e.conftest import World
from tests.kit.service import check_stream, until

MEGABYTE = 1 << 20


def resident_bytes(pid: int) -> int:
    """The high-water mark of the service's memory."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    line = next(line for line in status.splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


async def flood(world: World, script: str, seconds: float) -> tuple[int, list[dict[str, Any]], Any]:
    """Run a card that floods; returns the growth of the service's memory, the history and the job."""
    warm = await world.service.install(world.instance, world.ui_home, world.card("other/warm.md", "echo warm"))
    await world.service.ended(warm)
    before = resident_bytes(world.service.pid)
    job_id = await world.service.install(world.instance, world.ui_home, world.card("other/flood.md", script))
    job = await world.service.ended(job_id, seconds)
    growth = resident_bytes(world.service.pid) - before
    history = await world.service.history(job_id)
    check_stream(history)
    return growth, history, job


ONE_LINE = "head -c {size} /dev/zero | tr '\\0' x; exit 3"
NONSENSE = "head -c {size} /dev/urandom; printf '\\n\\377\\000\\033[31m\\033]0;x\\007 end\\n'; exit 3"
PERCENTS = "end=$((SECONDS + {seconds})); while [ $SECONDS -lt $end ]; do printf '\\r50%%'; done; exit 3"
BARS = (
    "exec timeout {seconds} python3 -S -c 'while True: "
    'print("\\rModel:  45%|####5     | 3.65M/8.12M [00:03<00:04, 60.9MiB/s]", end="")\''
)


# Draw until a file exists, with short breaks: else the log would fill the disk of a slow machine.
BARS_UNTIL_GO = """exec python3 -S -c '
import os, time
while not os.path.exists(os.environ["HOME"] + "/go"):
    print("\\rModel:  45%|####5     | 3.65M/8.12M [00:03<00:04, 60.9MiB/s]" * 200, end="", flush=True)
    time.sleep(0.002)
'"""


async def bounded(world: World, script: str, *, seconds: float, exit_code: int) -> None:
    growth, history, job = await flood(world, script, seconds)
    assert (job["state"], job["resources"][0]["exit_code"]) == ("failed", exit_code)
    assert growth <= 64 * MEGABYTE, growth / MEGABYTE
    assert len([event for event in history if event["type"] == "output"]) <= OUTPUT_LINES_MAX
    assert len([event for event in history if event["type"] == "progress"]) <= 2 * PROGRESS_EVENTS_FULL
    stored = sum(file.stat().st_size for file in world.folder.glob("installer.sqlite3*"))
    assert stored <= 128 * MEGABYTE
    print(
        f"{job['resources'][0]['seconds']} s, memory +{growth / MEGABYTE:.1f} MB, {len(history)} events, {stored} bytes"
    )


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("script", "exit_code"),
    [
        (ONE_LINE.format(size=100_000_000), 3),
        (NONSENSE.format(size=2_000_000), 3),
        (PERCENTS.format(seconds=2), 3),
        (BARS.format(seconds=1), 124),
    ],
)
async def test_a_short_flood(world: World, script: str, exit_code: int) -> None:
    await bounded(world, script, seconds=200, exit_code=exit_code)


@pytest.mark.long
@pytest.mark.parametrize(
    ("script", "exit_code"),
    [
        (ONE_LINE.format(size=1_000_000_000), 3),
        (NONSENSE.format(size=50_000_000), 3),
        (PERCENTS.format(seconds=60), 3),
        (BARS.format(seconds=20), 124),
    ],
)
async def test_a_long_flood(world: World, script: str, exit_code: int) -> None:
    await bounded(world, script, seconds=600, exit_code=exit_code)


async def test_a_flood_does_not_hold_up_the_others(world: World) -> None:
    other = await world.new_instance("other")
    flooding = world.card("other/flood.md", BARS_UNTIL_GO)
    calm = world.card("other/calm.md", "for n in 1 2 3 4 5; do echo line $n; sleep 0.2; done")
    loud = await world.service.install(world.instance, world.ui_home, flooding)
    await until(lambda: world.instance.marked_processes("3.65M"))
    quiet = await world.service.install(other, world.ui_home, calm)
    job = await world.service.ended(quiet)
    print(f"{job['resources'][0]['seconds']} s beside a flood")
    assert job["state"] == "completed"
    assert (await world.service.job(loud))["state"] == "running"
    (world.instance.home / "go").touch()
    assert (await world.service.ended(loud))["resources"][0]["exit_code"] == 0
