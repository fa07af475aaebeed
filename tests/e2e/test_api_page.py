"""The description of the API as a page, in a real Chromium."""

from __future__ import annotations

from pathlib import Path

from playwright.async_api import expect

from service.web.endpoints import ENDPOINTS
from tests.kit.browser import Browser
from tests.kit.running import running

TOKEN = "a-token-of-32-characters-or-more!"
expect.set_options(timeout=30_000)


async def test_every_operation_is_there_and_can_be_tried(tmp_path: Path, browser: Browser) -> None:
    async with running(tmp_path, api_token=TOKEN) as service:
        page = await browser.page(f"{service.url}/docs")
        await page.get_by_label("API token").fill(TOKEN)
        await page.get_by_role("button", name="Continue").click()
        await expect(page.locator(".opblock")).to_have_count(len(ENDPOINTS))
        browser.expect_refused(401)
        block = page.locator(".opblock", has_text="/readyz")
        await block.locator("button").first.click()
        await block.get_by_role("button", name="Try it out").click()
        await block.get_by_role("button", name="Execute").click()
        await expect(block.locator(".live-responses-table td.response-col_status").last).to_contain_text("200")
        await page.goto(f"{service.url}/")
        await expect(page.get_by_text("Nothing was installed yet")).to_be_visible()
