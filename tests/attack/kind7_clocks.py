"""Kind 7: somebody sets the clock of the service's machine in the middle of everything."""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from tests.attack.arena import Arena, Stopwatch
from tests.attack.attack import attack
from tests.kit.service import ServiceProcess, check_stream, until

LAUNCHER = Path(__file__).with_name("other_clock.py")
HOUR = 3600
# The first attempt fails in a way that is tried again.
FAILS_ONCE = """if [ ! -e "$HOME/{name}" ]; then touch "$HOME/{name}"; sleep 0.5
echo 'curl: (28) Operation timed out'; exit 28; fi; for n in 1 2 3 4 5; do echo $n; sleep 0.2; done"""


class Clock:
    def __init__(self, file: Path) -> None:
        self._file = file
        self.set(0)

    def set(self, seconds: float) -> None:
        """By how much it is wrong."""
        # In place and of one length: the service has it open, and may read at this very moment.
        with open(os.open(self._file, os.O_WRONLY | os.O_CREAT), "w", encoding="ascii") as file:
            file.write(f"{seconds:<40}")


@asynccontextmanager
async def on_another_clock(arena: Arena) -> AsyncIterator[tuple[ServiceProcess, Clock]]:
    file = arena.folder / f"clock-{arena.chance.randrange(10**9)}"
    clock = Clock(file)
    os.environ["ATTACK_CLOCK"] = str(file)
    try:
        python = [sys.executable, str(LAUNCHER)]
        settings = {"INSTALLER_MAX_ATTEMPTS": "2", "INSTALLER_RETRY_DELAY": "2"}
        async with arena.other_service("clock", python, settings) as service:
            yield service, clock
    finally:
        del os.environ["ATTACK_CLOCK"]


def check_times(job: Any, history: list[Any], seconds: float) -> None:
    """The times of the stream never fall, and everything took as long as it did."""
    check_stream(history)
    times = [event["at"] for event in history]
    assert times == sorted(times), "a time falls within the stream"
    took = [event["seconds"] for event in history if event.get("seconds") is not None]
    took += [result["seconds"] for result in history[-1]["results"]]
    took += [job["resources"][0].get("eta_seconds") or 0]
    assert all(0 <= each <= seconds + 1 for each in took), took


async def set_in_the_middle(arena: Arena, *steps: float) -> str:
    async with on_another_clock(arena) as (service, clock):
        watch = Stopwatch()
        name = f"failed-{arena.chance.randrange(10**9)}"
        card = arena.new_card(FAILS_ONCE.format(name=name), "installs: nothing\n")
        job_id = await service.install(arena.instance, arena.ui_home, card)
        for step in steps:
            await until(lambda: (arena.instance.home / name).exists())
            clock.set(step)
        job = await service.ended(job_id)
        seconds = watch.seconds
        assert job["state"] == "completed", job
        assert "resource_retry_scheduled" in [event["type"] for event in await service.history(job_id)]
        check_times(job, await service.history(job_id), seconds)
        assert (await service.get("/readyz")) is not None
        return f"completed on the second attempt after {seconds:.0f} s"


@attack(
    7,
    "the clock is set back by an hour while a retry waits",
    before="a retry of 7.5 s waited for an hour; durations read 0",
)
async def hour_back(arena: Arena) -> str:
    return await set_in_the_middle(arena, -HOUR)


@attack(7, "the clock is set ahead by an hour, then by a day", before="durations read 86,407 s")
async def hour_ahead(arena: Arena) -> str:
    return await set_in_the_middle(arena, HOUR, 24 * HOUR)


@attack(7, "the clock jumps to 1970, 2106 and back; then the service is killed and starts with a clock an hour back")
async def far_and_restart(arena: Arena) -> str:
    async with on_another_clock(arena) as (service, clock):
        job_id = await service.install(
            arena.instance, arena.ui_home, arena.new_card("for n in $(seq 30); do echo $n; sleep 0.1; done")
        )
        watch = Stopwatch()
        for step in (-1_700_000_000, 2_500_000_000, 0):
            clock.set(step)
            await service.get(f"/resources/jobs/{job_id}")
        await service.kill()
        clock.set(-HOUR)
        await service.start_under([sys.executable, str(LAUNCHER)])
        job = await service.ended(job_id)
        assert job["state"] == "completed", job
        check_times(job, await service.history(job_id), watch.seconds)
        return "completed; no time falls, also over the restart"
