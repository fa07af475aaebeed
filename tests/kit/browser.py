"""The system's Chromium, driven by Playwright, which records everything that a page should never do."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Literal

from playwright.async_api import Browser as PlaywrightBrowser
from playwright.async_api import BrowserContext, Page, Response, async_playwright

AXE = Path(__file__).parents[1] / "e2e/js/node_modules/axe-core/axe.min.js"
# Chromium contacts its maker's hosts at every start; the machines that run the tests cannot reach them.
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
DESKTOP = {"width": 1280, "height": 900}
_REPORT_VIOLATIONS = """
document.addEventListener("securitypolicyviolation", (event) => {
  console.error(`CSP: ${event.violatedDirective} ${event.blockedURI} ${event.sample}`);
});
"""


@asynccontextmanager
async def open_browser(*flags: str) -> AsyncIterator[Browser]:
    """``flags``: of Chromium, beside those of every test."""
    executable = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    assert executable is not None, "no Chromium: sudo apt-get install chromium"
    async with async_playwright() as playwright:
        chromium = await playwright.chromium.launch(executable_path=executable, args=[*FLAGS, *flags])
        try:
            yield Browser(chromium)
        finally:
            await chromium.close()


class Browser:
    """``page`` opens a page in its own context; ``problems`` lists what went wrong in any of them."""

    def __init__(self, chromium: PlaywrightBrowser) -> None:
        self._chromium = chromium
        self.problems: list[str] = []
        self._refusals: list[int] = []

    async def page(
        self, address: str, *, scheme: Literal["light", "dark"] = "light", viewport: dict[str, int] | None = None
    ) -> Page:
        context = await self.context(scheme=scheme, viewport=viewport or DESKTOP)
        page = await context.new_page()
        await page.goto(address)
        return page

    async def context(self, **options: Any) -> BrowserContext:
        context = await self._chromium.new_context(
            color_scheme=options.pop("scheme", "light"), accept_downloads=True, locale="en-GB", **options
        )
        context.set_default_timeout(30_000)
        await context.add_init_script(_REPORT_VIOLATIONS)
        context.on("weberror", lambda error: self.problems.append(f"error: {error.error}"))
        context.on("dialog", lambda dialog: self.problems.append(f"dialog: {dialog.message}"))
        context.on("response", self._answered)
        context.on("console", lambda said: self._said(said.type, said.text))
        return context

    def expect_refused(self, status: int) -> None:
        """Assert that the service refused with this status, as the test meant it to."""
        assert status in self._refusals
        self._refusals = [each for each in self._refusals if each != status]

    def assert_clean(self) -> None:
        """Assert that there was no error in a page, no policy violation, no dialog and no unexpected refusal."""
        if self.problems or self._refusals:
            raise AssertionError(f"problems: {self.problems}, refused: {self._refusals}")

    async def axe(self, page: Page) -> list[str]:
        """What axe-core finds that is serious or critical: the rule, and where."""
        await page.evaluate(AXE.read_text(encoding="utf-8"))
        found = await page.evaluate("axe.run()")
        return [
            f"{violation['id']}: {violation['help']}: {node['target']} {node['failureSummary']}"
            for violation in found["violations"]
            if violation["impact"] in ("serious", "critical")
            for node in violation["nodes"]
        ]

    def _answered(self, response: Response) -> None:
        if response.status >= 400:
            self._refusals.append(response.status)

    def _said(self, kind: str, text: str) -> None:
        # Chromium says of every refused or failed request that it failed; those are counted above, and a service that
        # is down is a part of the tests.
        if kind == "error" and not text.startswith("Failed to load resource") and "WebSocket connection to" not in text:
            self.problems.append(f"console: {text}")
