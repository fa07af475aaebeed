"""What a renter does, from an empty service to models on an instance: in a real Chromium, and by commands alone."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from playwright.async_api import expect

from service.demo.civitai import StandInModel
from service.demo.huggingface import StandInRepository
from service.demo.vast import StandInVast, instance
from tests.e2e.test_keys import piped
from tests.e2e.test_library import Linked, shoot
from tests.kit.browser import Browser
from tests.terminal.test_terminal import run

CIVITAI_KEY = "a-key-of-civitai-0123456789"
HF_TOKEN = "hf_a_token_of_the_renter_0123"
VAST_KEY = "a-key-of-vast-0123456789abcdef"
LORA = StandInModel(id=41, name="Soft Light", size_bytes=900_000, requires_key=CIVITAI_KEY)
UPSCALER = StandInModel(id=42, name="", size_bytes=700_000)
GATED = StandInModel(id=43, name="", size_bytes=800_000)
LINKS = (
    "https://civitai.com/models/41/soft-light",
    "https://huggingface.co/o/sharp/blob/main/4x-Sharp.safetensors",
    "https://huggingface.co/o/gated/blob/main/ae.safetensors",
)
ALL_BYTES = sum(model.size_bytes for model in (LORA, UPSCALER, GATED))
AGAIN_SECONDS_MAX = 15
CLICKS_MAX = 5
expect.set_options(timeout=30_000)


class Renter(Linked):
    """Nothing is there yet: no card, no key of any site; the renter's one instance is at Vast.ai."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.vast = StandInVast(VAST_KEY)
        self.civitai.account_key = CIVITAI_KEY
        self.hub.account_token = HF_TOKEN

    async def serve(self, **settings: str) -> None:
        await self.service.terminate()
        await self.vast.start()
        vast_place = self.vast.url.removeprefix("http://")
        self.civitai.add(LORA)
        self.hub.add(
            StandInRepository(name="o/sharp", files={"4x-Sharp.safetensors": UPSCALER}),
            StandInRepository(name="o/gated", files={"ae.safetensors": GATED}, requires_token=HF_TOKEN),
        )
        port = [{"HostIp": "127.0.0.1", "HostPort": str(self.instance.port)}]
        self.vast.add(instance(101, label="my 4090", public_ipaddr="127.0.0.1", ports={"22/tcp": port}))
        await self.service.start(
            INSTALLER_CIVITAI_URL=self.civitai.api_url,
            INSTALLER_HF_URL=f"http://localhost:{self.civitai.api_port}",
            INSTALLER_VAST_URL=self.vast.url,
            INSTALLER_OUTBOUND_TARGETS=f"127.0.0.1:{self.civitai.api_port},{vast_place}",
            HOME=str(self.folder),
            **settings,
        )

    async def close(self) -> None:
        await self.vast.stop()
        await super().close()

    @property
    def model_bytes(self) -> int:
        """How many bytes of models' files the sites have sent."""
        return self.hub.sent_bytes + sum(each.bytes for each in self.civitai.downloads(LORA.id))


@pytest.fixture
async def renter(tmp_path: Path) -> AsyncIterator[Renter]:
    built = Renter(tmp_path)
    try:
        await built.start()
        await built.serve()
        yield built
    finally:
        await built.close()


async def test_the_renters_story_by_commands_alone(renter: Renter) -> None:
    env = {"INSTALLER_URL": renter.service.url}

    async def done(*arguments: str, status: int = 0) -> list[str]:
        ended, out, err = await run(*arguments, env=env)
        assert ended == status, out + err
        return out.splitlines()

    # 1. The keys, from nothing, by standard input.
    assert [row.split("\t")[1] for row in await done("keys")][:3] == ["no", "no", "no"]
    for name, key in (("civitai", CIVITAI_KEY), ("vast", VAST_KEY)):
        status, _, err = await piped(f"{key}\n", "keys", "set", name, env=env)
        assert status == 0, err

    # 2. Three links become cards; the last one says which token it will want.
    cards = [(await done("add", link, "--yes"))[-1] for link in LINKS[:2]]
    shown = await done("add", LINKS[2], "--yes")
    assert "resource-installer keys set huggingface" in " ".join(shown)
    cards.append(shown[-1])

    # 3. The instance as `vast` prints it goes into `check` and `install`.
    (rented,) = [row.split("\t") for row in await done("vast")]
    line = rented[6]
    home = ("--ui-home", str(renter.ui_home))
    await done("check", line, *home)
    told = await done("install", line, *cards, *home, status=1)
    assert "resource-installer keys set huggingface" in " ".join(told)
    assert f"resource-installer retry {told[0]}" in " ".join(told)

    # 4. The token, and again: what is there is not loaded again.
    status, _, err = await piped(f"{HF_TOKEN}\n", "keys", "set", "huggingface", env=env)
    assert status == 0, err
    await done("retry", told[0])
    assert renter.model_bytes == ALL_BYTES

    # 5. The same install once more.
    begin = time.monotonic()
    await done("install", line, *cards, *home)
    seconds = time.monotonic() - begin
    print(f"terminal: again in {seconds:.1f} s, {renter.model_bytes - ALL_BYTES} bytes")
    assert renter.model_bytes == ALL_BYTES
    assert seconds < AGAIN_SECONDS_MAX


COUNT_CLICKS = """
addEventListener("click", (event) => {
  if (event.isTrusted && event.detail > 0) sessionStorage.clicks = Number(sessionStorage.clicks ?? 0) + 1;
}, true);
"""


@pytest.mark.parametrize("has_cards", [False, True], ids=["empty", "cards"])
async def test_few_clicks_to_the_first_byte(renter: Renter, browser: Browser, has_cards: bool) -> None:
    """From the first page of a service: each click with the mouse counts, those into fields too."""
    if has_cards:
        renter.card("other/a.md", "true")
    renter.civitai.add(StandInModel(id=LORA.id, name="Soft Light", size_bytes=900_000))
    context = await browser.context(viewport={"width": 1280, "height": 900})
    await context.grant_permissions(["clipboard-read", "clipboard-write"])
    await context.add_init_script(COUNT_CLICKS)
    page = await context.new_page()

    async def paste(text: str) -> None:
        await page.evaluate("text => navigator.clipboard.writeText(text)", text)
        await page.keyboard.press("Control+V")

    begin = time.monotonic()
    await page.goto(renter.service.url)
    await page.locator("main").get_by_role("link", name="Start an install").click()
    if has_cards:
        await page.get_by_role("button", name="Add a model from a link").click()
        await expect(page.get_by_label("Paste a link")).to_be_focused()
    else:
        await page.get_by_label("Paste a link").click()
    await paste(LINKS[0])
    await page.get_by_role("button", name="Save to the library").click()
    await expect(page.get_by_label("Paste the instance's ssh line")).to_be_focused()
    await paste(f"ssh -p {renter.instance.port} root@127.0.0.1 -L 8080:localhost:8080")
    # A rented instance has the folder that the form begins with; this one does not.
    await page.get_by_label("Folder of ComfyUI").fill(str(renter.ui_home))
    await page.get_by_role("button", name="Install 1 resource").click()
    async with asyncio.timeout(30):
        # A request is noted when its answer has been sent.
        while renter.model_bytes == 0:
            await asyncio.sleep(0.02)
    seconds = time.monotonic() - begin
    clicks = int(await page.evaluate("sessionStorage.clicks"))
    print(f"browser: {clicks} clicks and {seconds:.1f} s of the machine to the first byte")
    assert clicks <= CLICKS_MAX


async def test_the_renters_story_in_the_browser(renter: Renter, browser: Browser) -> None:
    page = await browser.page(renter.service.url)

    # 1. The key of CivitAI, on the page of keys.
    await page.get_by_role("navigation").get_by_role("link", name="Keys").click()
    civitai = page.get_by_role("region", name="CivitAI API key")
    await expect(civitai.get_by_text("Not set")).to_be_visible()
    await civitai.get_by_label("Paste it here").fill(CIVITAI_KEY)
    await civitai.get_by_role("button", name="Save and check").click()
    await expect(civitai.get_by_text("of the account renter")).to_be_visible()

    # 2. Three links become cards, and each is picked.
    await page.get_by_role("navigation").get_by_role("link", name="Installs").click()
    await page.locator("main").get_by_role("link", name="Start an install").click()
    await shoot(page, browser, "renter-empty")
    for number, link in enumerate(LINKS, start=1):
        await page.get_by_label("Paste a link").fill(link)
        await page.get_by_role("button", name="Look at it").click()
        if link == LINKS[-1]:
            await expect(page.get_by_text("This repository is gated")).to_be_visible()
            await shoot(page, browser, "renter-gated")
        await page.get_by_role("button", name="Save to the library").click()
        await expect(page.get_by_role("button", name=f"Install {number} resource")).to_be_visible()

    await expect(page.get_by_text("2.4 MB", exact=True)).to_be_visible()

    # 3. The instance, from the list of Vast.ai, which asks for its key.
    await page.get_by_role("button", name="Pick one of my instances at Vast.ai").click()
    await page.get_by_label("Vast.ai API key").fill(VAST_KEY)
    await page.get_by_role("button", name="Save and list").click()
    browser.expect_refused(400)
    await page.get_by_role("button", name="Use it: my 4090").click()
    await page.get_by_label("Folder of ComfyUI").fill(str(renter.ui_home))
    await page.get_by_role("button", name="Check the instance").click()
    await expect(page.get_by_text("An install can begin.")).to_be_visible()
    await shoot(page, browser, "renter-form")

    # 4. The gated file fails; the page asks for the token and starts the rest again.
    await page.get_by_role("button", name="Install 3 resources").click()
    await expect(page.get_by_role("heading", name="Add the key and retry")).to_be_visible(timeout=60_000)
    await expect(page.locator("h1 .state")).to_have_text("Failed")
    await expect(page.get_by_label("CivitAI API key")).to_be_hidden()
    await shoot(page, browser, "renter-failed")
    await page.get_by_label("Hugging Face token").fill(HF_TOKEN)
    await page.get_by_role("button", name="Save it and retry").click()
    await expect(page.locator("h1 .state")).to_have_text("Completed", timeout=60_000)
    await expect(page.get_by_text("1 of 1 resource installed")).to_be_visible()
    assert renter.model_bytes == ALL_BYTES
    await shoot(page, browser, "renter-done")

    # 5. The same install once more: the form remembers the instance.
    await page.get_by_role("navigation").get_by_role("link", name="Library").click()
    boxes = page.get_by_role("checkbox", name=re.compile(r"\.md"))
    await expect(boxes).to_have_count(3)
    for box in await boxes.all():
        await box.check()
    await page.get_by_role("link", name="Install 3 of them").click()
    begin = time.monotonic()
    await page.get_by_role("button", name="Install 3 resources").click()
    await expect(page.locator("h1 .state")).to_have_text("Completed", timeout=60_000)
    seconds = time.monotonic() - begin
    print(f"browser: again in {seconds:.1f} s, {renter.model_bytes - ALL_BYTES} bytes")
    await shoot(page, browser, "renter-again")
    assert renter.model_bytes == ALL_BYTES
    assert seconds < AGAIN_SECONDS_MAX


async def test_a_missing_key_is_added_beside_the_preview(renter: Renter, browser: Browser) -> None:
    page = await browser.page(f"{renter.service.url}/#/resources")
    await page.get_by_label("Paste a link").fill(LINKS[2])
    await page.get_by_role("button", name="Look at it").click()
    await page.get_by_role("button", name="Add the key").click()
    await page.get_by_label("Hugging Face token").fill("hf_of_somebody_else_0123")
    await page.get_by_role("button", name="Save it and look again").click()
    await expect(page.get_by_text("the site refuses this Hugging Face token")).to_be_visible()
    await shoot(page, browser, "renter-key-beside")
    await page.get_by_label("Hugging Face token").fill(HF_TOKEN)
    await page.get_by_role("button", name="Save it and look again").click()
    await expect(page.get_by_text("This repository is gated")).to_be_hidden()
    await expect(page.get_by_role("heading", name="gated ae")).to_be_visible()
