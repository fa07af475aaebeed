"""A job's page with a long history: it is read by pages, and what comes meanwhile is neither lost nor shown twice."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from playwright.async_api import Page, Request, Route, expect

from service.app import Service
from service.events import event_types as types
from service.events.recorded_event import NewEvent
from tests.kit.browser import Browser
from tests.kit.running import running, write_card

CARD = "a.md"
PAGES = re.compile(r"/events\?limit=1000&after=(\d+)$")
SHOWN_LINES = 300
expect.set_options(timeout=30_000)


class LongJob:
    """A job that runs and whose instance never answers: the test alone appends to it."""

    def __init__(self, service: Service, job_id: str) -> None:
        self.service = service
        self.job_id = job_id
        self.address = f"{service.url}/#/jobs/{job_id}"
        self._lines = 0

    async def grow(self, events: int) -> None:
        """Bars, and after each four of them a line."""
        for first in range(0, events, 500):
            new = [self._next(n) for n in range(first, min(first + 500, events))]
            await self.service._journal.append(self.job_id, new)

    def _next(self, number: int) -> NewEvent:
        if number % 5 < 4:
            bar = types.Progress(stage="model", percent=number % 101, downloaded_bytes=number, total_bytes=10_000)
            return NewEvent(event=bar, resource=CARD, attempt=1)
        self._lines += 1
        return NewEvent(event=types.Output(line=f"line {self._lines}"), resource=CARD, attempt=1)

    async def shown_is_whole(self, page: Page) -> None:
        """The last lines are on the page, each once and in order."""
        lines = [f"line {n}" for n in range(1, self._lines + 1)]
        await expect(page.locator("pre.output")).to_contain_text(re.compile(rf"{lines[-1]}\s*$"))
        shown = (await page.locator("pre.output").text_content() or "").splitlines()
        assert shown == lines[-SHOWN_LINES:]


@pytest.fixture
async def job(tmp_path: Path) -> AsyncIterator[LongJob]:
    write_card(tmp_path, CARD)
    async with running(tmp_path) as service:
        body = {"ssh_host": "127.0.0.1", "ssh_port": 9, "ui_home": "/ui", "resources": [CARD]}
        async with (
            aiohttp.ClientSession() as http,
            http.post(f"{service.url}/resources/install", json=body) as answer,
        ):
            job_id = str((await answer.json())["job_id"])
        async with asyncio.timeout(30):
            while (await service._journal._jobs.get(job_id)).state != "running":
                await asyncio.sleep(0.05)
        started = types.ResourceStarted(title="A", card_sha256="0" * 64)
        await service._journal.append(job_id, [NewEvent(event=started, resource=CARD, attempt=1)])
        yield LongJob(service, job_id)


async def opened(browser: Browser, job: LongJob) -> tuple[Page, list[int]]:
    """The page, and after which sequences it read a page of the history."""
    page = await browser.page("about:blank")
    read: list[int] = []

    def note(request: Request) -> None:
        if found := PAGES.search(request.url):
            read.append(int(found[1]))

    page.on("request", note)
    await page.goto(job.address)
    return page, read


async def test_the_whole_history_is_loaded_while_it_grows(job: LongJob, browser: Browser) -> None:
    await job.grow(7_000)
    page, read = await opened(browser, job)
    await page.get_by_role("button", name="Load the whole history").click()
    for _ in range(20):
        await job.grow(5)
        await asyncio.sleep(0.02)
    await expect(page.get_by_text("left out")).to_be_hidden()
    await expect(page.get_by_text("Replaying")).to_be_hidden()
    await job.grow(5)
    await job.shown_is_whole(page)
    assert read[:8] == list(range(0, 8_000, 1_000))


async def test_a_history_that_is_shown_whole_is_read_by_pages(job: LongJob, browser: Browser) -> None:
    await job.grow(3_500)
    page, read = await opened(browser, job)
    for _ in range(20):
        await job.grow(5)
        await asyncio.sleep(0.02)
    await job.shown_is_whole(page)
    assert read[:4] == list(range(0, 4_000, 1_000))


async def test_a_long_job_that_has_ended_is_shown_whole(job: LongJob, browser: Browser) -> None:
    await job.grow(1_500)
    installed = NewEvent(event=types.ResourceInstalled(exit_code=0, seconds=1.0), resource=CARD, attempt=1)
    completed = NewEvent(event=types.JobCompleted(installed=1, total=1, results=[]))
    await job.service._journal.append(job.job_id, [installed, completed])
    page, read = await opened(browser, job)
    await expect(page.locator("h1 .state")).to_have_text("Completed")
    await job.shown_is_whole(page)
    assert read == [0, 1_000]
    # Nothing follows the end, so nobody waits for it.
    await asyncio.sleep(0.5)
    assert not list(job.service._rooms.all())


async def test_what_cannot_be_read_by_pages_comes_by_the_subscription(job: LongJob, browser: Browser) -> None:
    await job.grow(3_500)
    page = await browser.page("about:blank")

    async def refuse(route: Route) -> None:
        await (route.fulfill(status=503) if "after=1000" in route.request.url else route.continue_())

    await page.route(PAGES, refuse)
    await page.goto(job.address)
    await job.grow(5)
    await job.shown_is_whole(page)
    browser.expect_refused(503)
