"""Several runs in the background, and kill -9 of the service at every crash point: one verdict, from the ledger."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

import aiohttp
import pytest

from service.crash_points import POINTS
from tests.kit.invariants import check_database
from tests.kit.service import ServiceProcess, check_stream
from tests.realwork.case import Expect
from tests.realwork.stage import Seen, Stage, check, slug

pytestmark = pytest.mark.asyncio(loop_scope="session")

SLOW = "@/rate=100000"
CARD = f"""---
title: In the background
---
# Download
```bash
wget -q -P "$L" {SLOW}/a.pth &
nohup curl -sfL -o "$L/b.pth" {SLOW}/b.pth >/dev/null 2>&1 &
setsid -f wget -q -O "$L/c.pth" {SLOW}/c.pth?type=Model
printf '%s\\n' {SLOW}/d.pth {SLOW}/e.pth | xargs -P 2 -n 1 wget -q -P "$L" &
wget -b -o /dev/null -P "$L" {SLOW}/f.pth
aria2c -D -d "$L" {SLOW}/g.pth
wget -qO "$L/h.pth" {SLOW}/h.pth?type=Model&format=Other
```
"""
WHOLE = Expect(files={f"loras/{name}.pth": f"{name}.pth" for name in "abcdefgh"}, attempts=1, fetched=1.05)
CRASHES_MAX = 12
# A control is asked for all the time, and each costs the downloads that time.
CRASHES_OF_CONTROLS_MAX = 4
CONTROL_SECONDS = 0.3
CONTROLS = tuple(point for point in POINTS if point.endswith(("control", "signal")))
QUICK = ("before_verdict",)


async def until_it_ended_or_crashed(service: ServiceProcess, job_id: str) -> bool:
    """Whether the job ended before the service crashed."""
    crashed = asyncio.create_task(service.wait())
    ended = asyncio.create_task(service.ended(job_id, 100))
    await asyncio.wait((crashed, ended), return_when=asyncio.FIRST_COMPLETED)
    has_ended = ended.done() and ended.exception() is None
    if not has_ended:
        await crashed
    for task in (crashed, ended):
        task.cancel()
    await asyncio.gather(crashed, ended, return_exceptions=True)
    return has_ended


async def pause_and_resume(service: ServiceProcess, job_id: str) -> None:
    """Without end, whether or not the service is there to hear it."""
    while True:
        for control in ("pause", "resume"):
            with contextlib.suppress(aiohttp.ClientError, OSError):
                await service.post(f"/resources/jobs/{job_id}/{control}", {})
            await asyncio.sleep(CONTROL_SECONDS)


async def crashes_at(stage: Stage, folder: Path, point: str, most: int) -> None:
    case = slug(f"runs.{point}")
    card = stage.write_card(case, "loras/card.md", CARD, case)
    seen = Seen(ui_home=stage.new_ui_home(case))
    service = stage.new_service(folder)
    crashes = 0
    disturbing: asyncio.Task[None] | None = None
    try:
        await service.start()
        job_id = await service.install(stage.instance, seen.ui_home, card)
        await service.kill()
        if point in CONTROLS:
            disturbing = asyncio.create_task(pause_and_resume(service, job_id))
        while True:
            bomb = {"INSTALLER_CRASH_AT": f"{point}:{crashes + 1}"} if crashes < most else {}
            try:
                await service.start(**bomb)
            except RuntimeError:
                # The bomb went off before the service said where it listens.
                crashes += 1
                continue
            if await until_it_ended_or_crashed(service, job_id):
                break
            crashes += 1
        if disturbing is not None:
            # A control that was on its way may still have met the bomb: what the log holds is what counts.
            disturbing.cancel()
            await service.kill()
            await service.start()
        seen.histories.append(await service.history(job_id))
        seen.jobs.append(await service.job(job_id))
        await service.terminate()
    finally:
        if disturbing is not None:
            disturbing.cancel()
        await service.kill()
    check_database(folder / "installer.sqlite3")
    seen.fetched = stage.site.sent(case)
    if not crashes:
        raise RuntimeError(f"the service never came to {point}")
    check_stream(seen.events)
    check(WHOLE, seen)
    assert len(seen.of("resource_installed", "resource_failed")) == 1
    assert len(seen.of("run_ended")) >= len(WHOLE.files)


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    "point",
    [
        pytest.param(
            point, marks=[pytest.mark.realwork(f"runs.{point}"), *([] if point in QUICK else [pytest.mark.long])]
        )
        for point in POINTS
    ],
)
async def test_one_verdict_whatever_crashes(stage: Stage, tmp_path: Path, point: str) -> None:
    most = 2 if point in QUICK else CRASHES_OF_CONTROLS_MAX if point in CONTROLS else CRASHES_MAX
    await crashes_at(stage, tmp_path, point, most)


@pytest.mark.realwork("runs.all-forms")
async def test_all_forms_at_once(stage: Stage) -> None:
    """Without a crash."""
    card = stage.write_card("runs-all", "loras/card.md", CARD, "runs-all")
    seen = Seen(ui_home=stage.new_ui_home("runs-all"))
    await stage.until_ended(seen, await stage.service.install(stage.instance, seen.ui_home, card), 60)
    seen.fetched = stage.site.sent("runs-all")
    check(WHOLE, seen)
