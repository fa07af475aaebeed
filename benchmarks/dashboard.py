"""(i) The dashboard in Chromium: what the first load weighs, and its frames while updates come in."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from statistics import quantiles

import aiohttp
from playwright.async_api import Page

from benchmarks.scratch import scratch
from benchmarks.table import Row
from service.app import Service
from service.events import event_types as types
from service.events.recorded_event import NewEvent
from tests.kit.browser import Browser, open_browser
from tests.kit.running import running, write_card

JOBS = 500
RUNNING = 20
EVENTS = 10_000
UPDATES_A_SECOND = 10
# Two frames of a screen that draws sixty a second.
FRAME_MS_MAX = 33.4
WEIGHT_BYTES_MAX = 150_000
CARD = "a.md"

# The time between frames as the page sees it.
_FRAMES = """
window.frames_ms = [];
{
  let before = performance.now();
  const next = (now) => { window.frames_ms.push(now - before); before = now; requestAnimationFrame(next); };
  requestAnimationFrame((now) => { before = now; requestAnimationFrame(next); });
}
"""
_WEIGHT = """
[...performance.getEntriesByType("navigation"), ...performance.getEntriesByType("resource")]
  .filter((entry) => entry.initiatorType !== "fetch" && entry.initiatorType !== "xmlhttprequest")
  .reduce((sum, entry) => sum + entry.encodedBodySize, 0)
"""


async def run(quick: bool) -> list[Row]:
    seconds = 3 if quick else 15
    with scratch() as folder:
        async with running(folder, max_concurrent_jobs=RUNNING) as service, open_browser() as browser:
            write_card(folder, CARD)
            jobs = await _jobs(service)
            busy = [job for job in jobs if (await service._journal._jobs.get(job)).state == "running"]
            assert len(busy) == RUNNING, f"{len(busy)} jobs run"
            for job in busy:
                await service._journal.append(job, [_started()])
            weight = await _weight(service, browser)
            listed = await _list_frames(service, browser, busy, seconds)
            replayed, live = await _job_frames(service, browser, busy[0], seconds)
    return [
        Row(
            name="(i) first load, compressed",
            value=weight / 1000,
            unit="kB",
            goal=f"<= {WEIGHT_BYTES_MAX // 1000}",
            holds=weight <= WEIGHT_BYTES_MAX,
        ),
        *_rows(f"{JOBS} jobs in the list, {RUNNING} of them moving", listed),
        *_rows(f"a job's {EVENTS:,} events, as they are replayed", replayed),
        *_rows(f"a job of {EVENTS:,} events, live", live),
    ]


def _rows(name: str, frames_ms: list[float]) -> list[Row]:
    p99, longest = quantiles(frames_ms, n=100)[98], max(frames_ms)
    return [
        Row(name=f"(i) {name}: frames, p99 of {len(frames_ms)}", value=p99, unit="ms"),
        Row(
            name=f"(i) {name}: longest frame",
            value=longest,
            unit="ms",
            goal=f"<= {FRAME_MS_MAX}",
            holds=longest <= FRAME_MS_MAX,
        ),
    ]


async def _jobs(service: Service) -> list[str]:
    """So many jobs of as many instances, none of which answers."""
    jobs = []
    async with aiohttp.ClientSession() as http:
        for number in range(JOBS):
            body = {"ssh_host": f"127.0.{number // 250}.{number % 250 + 1}", "ssh_port": 9, "ui_home": "/ui"}
            async with http.post(f"{service.url}/resources/install", json={**body, "resources": [CARD]}) as response:
                jobs.append(str((await response.json())["job_id"]))
    return jobs


def _started() -> NewEvent:
    return NewEvent(event=types.ResourceStarted(title="A", card_sha256="0" * 64), resource=CARD, attempt=1)


def _bar(done: int) -> NewEvent:
    event = types.Progress(
        stage="model",
        percent=done * 100 // EVENTS % 101,
        downloaded_bytes=done * 1_000_000,
        total_bytes=EVENTS * 1_000_000,
        bytes_per_second=1e7,
    )
    return NewEvent(event=event, resource=CARD, attempt=1)


async def _weight(service: Service, browser: Browser) -> int:
    page = await browser.page(service.url)
    await page.wait_for_load_state("networkidle")
    weight = int(await page.evaluate(_WEIGHT))
    await page.close()
    return weight


async def _list_frames(service: Service, browser: Browser, busy: list[str], seconds: int) -> list[float]:
    page = await browser.page(service.url)
    await page.get_by_text(f"{JOBS} shown").wait_for()

    async def update(step: int) -> None:
        for job in busy:
            await service._journal.append(job, [_bar(step)])

    return await _frames(page, update, seconds)


async def _job_frames(service: Service, browser: Browser, job: str, seconds: int) -> tuple[list[float], list[float]]:
    last = (await service._journal._jobs.get(job)).last_sequence
    for first in range(last, EVENTS, 500):
        await service._journal.append(job, [_bar(n) for n in range(first, min(first + 500, EVENTS))])
    page = await browser.page(f"{service.url}/#/jobs/{job}")
    await page.get_by_role("button", name="Load the whole history").wait_for()
    await page.evaluate(_FRAMES)
    await page.get_by_role("button", name="Load the whole history").click()
    await page.get_by_text("left out").wait_for(state="hidden")
    await page.get_by_text("Replaying").wait_for(state="hidden")
    replayed = [float(each) for each in await page.evaluate("window.frames_ms")]

    async def update(step: int) -> None:
        line = NewEvent(event=types.Output(line=f"line {step}"), resource=CARD, attempt=1)
        await service._journal.append(job, [_bar(EVENTS + step), line])

    return replayed, await _frames(page, update, seconds)


async def _frames(page: Page, update: Callable[[int], Awaitable[None]], seconds: int) -> list[float]:
    """The frames of the page while it is updated so often."""
    await page.wait_for_load_state("networkidle")
    await page.evaluate(_FRAMES)
    for step in range(1, seconds * UPDATES_A_SECOND + 1):
        await update(step)
        await asyncio.sleep(1 / UPDATES_A_SECOND)
    return [float(each) for each in await page.evaluate("window.frames_ms")]
