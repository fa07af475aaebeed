"""The library in a real Chromium and a real terminal: from a link to a card and to a model on an instance."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from playwright.async_api import Page, ViewportSize, expect

from service.demo.civitai import StandInCivitai, StandInModel, sha256
from service.demo.huggingface import StandInHuggingFace, StandInRepository
from tests.e2e.conftest import World
from tests.kit.browser import Browser
from tests.terminal.test_terminal import run

TOKEN = "hf_token_of_the_tests"
HOSTILE = "<img src=x onerror=alert(1)> `touch owned` $(id)"
PHONE = ViewportSize(width=390, height=844)
SHOTS = Path(".build/screenshots")
expect.set_options(timeout=30_000)


class Linked(World):
    """A world whose service asks stand-ins of both sites."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.hub = StandInHuggingFace()
        self.civitai = StandInCivitai(folder / "civitai", self.hub)

    async def serve(self, **settings: str) -> None:
        """Again, with the addresses of the stand-ins, and these settings."""
        await self.service.terminate()
        self.civitai.image_origin = self.civitai.api_url
        await self.service.start(
            INSTALLER_CIVITAI_URL=self.civitai.api_url,
            # Another origin: each key goes to its own.
            INSTALLER_HF_URL=f"http://localhost:{self.civitai.api_port}",
            INSTALLER_HF_TOKEN=TOKEN,
            INSTALLER_OUTBOUND_TARGETS=f"127.0.0.1:{self.civitai.api_port}",
            **settings,
        )


@pytest.fixture
async def linked(tmp_path: Path) -> AsyncIterator[Linked]:
    built = Linked(tmp_path)
    try:
        await built.start()
        await built.serve()
        yield built
    finally:
        await built.close()


async def test_from_a_link_to_a_model_and_back(linked: Linked, browser: Browser) -> None:
    """An empty library begins with a link; the card is looked at, saved, edited, duplicated and deleted, and every page
    is accessible and fits a phone. What was pasted is installed by the real curl, with the token of a gated file."""
    civitai, hub = linked.civitai, linked.hub
    model = StandInModel(id=12, name=HOSTILE, size_bytes=40_000, trained_words=["dramatic"], requires_key="k" * 9)
    vae = StandInModel(id=7, name="", size_bytes=60_000)
    civitai.add(model)
    files = {f"split_files/vae/{name}.safetensors": vae for name in ("ae", 'it\'s "odd" $(id)')}
    hub.add(StandInRepository(name="o/flux", files=files, requires_token=TOKEN, base_model="FLUX.1"))
    page = await browser.page(f"{linked.service.url}/#/install")

    # 1. A link that leads nowhere says so at the field.
    link, look = page.get_by_label("Paste a link"), page.get_by_role("button", name="Look at it")
    await link.fill("https://civitai.com/images/5")
    await link.press("Enter")
    await expect(page.locator("#link-help")).to_have_text(re.compile("is not a model"))
    browser.expect_refused(400)

    # 2. A model of CivitAI: picture, facts, commands, what is missing.
    await link.fill("https://civitai.com/models/12")
    await look.click()
    await expect(page.get_by_role("heading", name=HOSTILE)).to_be_visible()
    await expect(page.get_by_text("set INSTALLER_CIVITAI_API_KEY")).to_be_visible()
    await expect(page.locator("img.picture")).to_be_visible()
    assert await page.locator("img.picture").evaluate("image => image.naturalWidth") == 320
    await expect(page.locator("pre.commands")).to_contain_text('civitdl "https://civitai.com/models/12')
    await expect(page.locator("dd", has_text=sha256(model))).to_be_visible()
    await shoot(page, browser, "preview")
    await page.get_by_label("Path in the library").fill("../x.md")
    await page.get_by_role("button", name="Save to the library").click()
    await expect(page.locator("#new-path-help")).to_have_text(re.compile("must not hold"))
    browser.expect_refused(400)
    await page.get_by_label("Path in the library").fill("loras/light.md")
    await page.get_by_role("button", name="Save to the library").click()
    # It is picked already.
    await expect(page.get_by_role("checkbox", name=HOSTILE)).to_be_checked()

    # 3. A repository of Hugging Face: one of its files, and its folder is another.
    await page.get_by_role("link", name="Library").click()
    await link.fill("https://huggingface.co/o/flux")
    await link.press("Enter")
    await page.get_by_role("button", name=re.compile("odd")).click()
    await expect(page.get_by_label("Folder below models/")).to_have_value("vae")
    await page.get_by_label("Folder below models/").select_option("upscale_models")
    await expect(page.locator("pre.commands")).to_contain_text("models/upscale_models")
    await page.get_by_label("Folder below models/").select_option("vae")
    await expect(page.locator("pre.commands")).to_contain_text("models/vae")
    await page.get_by_role("button", name="Save to the library").click()
    await expect(page).to_have_url(re.compile(r"#/resources/vae/flux_it_s_odd_id\.md$"))
    await expect(page.get_by_role("heading", name="What it runs on an instance")).to_be_visible()
    await shoot(page, browser, "card")
    await expect(page.get_by_role("link", name="Its page at huggingface.co")).to_have_attribute(
        "href", "https://huggingface.co/o/flux"
    )

    # 4. It is installed as it is: the gated file, under its odd name, and the token went to its own host alone.
    await page.get_by_role("link", name="Install…").click()
    await expect(page.get_by_role("checkbox", name=re.compile("odd"))).to_be_checked()
    await page.get_by_label("Paste the instance's ssh line").fill(f"ssh -p {linked.instance.port} root@127.0.0.1")
    await page.get_by_label("Folder of ComfyUI").fill(str(linked.ui_home))
    await page.get_by_role("button", name="Install 1 resource").click()
    await expect(page.locator("h1 .state")).to_have_text("Completed", timeout=60_000)
    assert (linked.ui_home / 'models/vae/it\'s "odd" $(id).safetensors').stat().st_size == 60_000
    fetched = [(path, token) for method, path, token in hub.requests if method == "GET" and "safetensors" in path]
    assert [token for path, token in fetched if path.startswith("/storage/")] == [False]
    assert all(token for path, token in fetched if "/resolve/" in path)

    # 5. Edit, with the library's own words at the field; another editor's change is not overwritten.
    await page.goto(f"{linked.service.url}/#/resources/loras/light.md")
    await expect(page.locator("img.picture")).to_be_visible()
    await page.get_by_role("button", name="Edit").click()
    text = page.get_by_label("Text of the card")
    before = await text.input_value()
    await text.fill("nothing to run")
    await page.get_by_role("button", name="Save").click()
    await expect(page.locator("#card-text-help")).to_have_text(re.compile('has no "# Download" heading'))
    await expect(text).to_be_focused()
    browser.expect_refused(400)
    await shoot(page, browser, "edit")
    (linked.cards / "loras/light.md").write_text(before.replace("type: lora", "type: other"))
    await text.fill(before)
    await page.get_by_role("button", name="Save").click()
    await expect(page.get_by_text("somebody else changed")).to_be_visible()
    browser.expect_refused(412)
    await page.get_by_role("button", name="Cancel").click()
    await page.get_by_role("button", name="Edit").click()
    await expect(text).to_have_value(re.compile("type: other"))
    await text.fill(before.replace("type: lora", "type: changed"))
    await page.get_by_role("button", name="Save").click()
    await expect(page.locator("dd", has_text="changed")).to_be_visible()

    # 6. Duplicate, and delete by the keyboard after a question.
    await page.get_by_role("button", name="Duplicate").click()
    await page.get_by_role("button", name="Save").click()
    await expect(page).to_have_url(re.compile(r"light_copy\.md$"))
    await page.get_by_role("button", name="Delete").focus()
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("dialog")).to_be_visible()
    await page.keyboard.press("Escape")
    assert (linked.cards / "loras/light_copy.md").exists()
    await page.get_by_role("button", name="Delete").click()
    await page.get_by_role("button", name="Delete the card").click()
    await expect(page.get_by_role("heading", name="Cards")).to_be_visible()
    assert not (linked.cards / "loras/light_copy.md").exists()
    await shoot(page, browser, "library")


async def shoot(page: Page, browser: Browser, name: str) -> None:
    """A page as it is now, on a desktop in light and on a phone in dark: accessible, and no wider than the screen."""
    SHOTS.mkdir(parents=True, exist_ok=True)
    before = page.viewport_size
    assert before is not None
    for size, viewport, scheme in (("desktop", before, "light"), ("phone", PHONE, "dark")):
        await page.set_viewport_size(viewport)
        await page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
        assert await browser.axe(page) == [], f"{name}, {size}, {scheme}"
        width = await page.evaluate("document.documentElement.scrollWidth - innerWidth")
        assert width <= 0, f"{name} is {width} pixels too wide for a {size}"
        await page.screenshot(path=SHOTS / f"{name}-{size}-{scheme}.png", full_page=True)
    await page.emulate_media(color_scheme="light")
    await page.set_viewport_size(before)


async def test_a_library_that_is_read_only_offers_no_change(world: World, browser: Browser) -> None:
    world.card("other/a.md", "true")
    (world.cards / "other/broken.md").write_text("no commands")
    await world.service.terminate()
    await world.service.start(INSTALLER_CARDS_READ_ONLY="true")
    page = await browser.page(f"{world.service.url}/#/resources")
    await expect(page.get_by_text("This service does not change its cards")).to_be_visible()
    await expect(page.get_by_label("Paste a link")).to_be_hidden()
    await page.get_by_role("link", name="Open Card other/a.md").click()
    await expect(page.get_by_role("link", name="Install…")).to_be_visible()
    await expect(page.get_by_role("button", name="Edit")).to_be_hidden()
    await page.goto(f"{world.service.url}/#/resources/other/broken.md")
    await expect(page.get_by_text('has no "# Download" heading')).to_be_visible()
    browser.expect_refused(400)


async def test_the_same_by_the_terminal(linked: Linked, tmp_path: Path) -> None:
    linked.civitai.add(StandInModel(id=12, name="Light\x1b", size_bytes=4_000))
    linked.hub.add(StandInRepository(name="o/r", files={f"{n}.gguf": StandInModel(id=7, name="") for n in "ab"}))
    env = {"INSTALLER_URL": linked.service.url}
    status, out, err = await run("add", "civitai:12", env=env)
    assert (status, list(linked.cards.iterdir())) == (2, [])
    assert "say --yes" in err
    status, out, err = await run("add", "civitai:12", "--yes", env=env)
    assert (status, err) == (0, "")
    assert "\x1b" not in out
    assert 'civitdl "https://civitai.com/models/12?modelVersionId=5012" "$UI_HOME/models/loras"' in out
    assert out.splitlines()[-1] == "loras/light_v1_0.md"
    status, out, err = await run("add", "https://huggingface.co/o/r", "--yes", env=env)
    assert (status, "a.gguf" in out, "--file" in err) == (2, True, True)
    status, _, err = await run("add", "https://huggingface.co/o/r", "--file", "a.gguf", "--as", "x y.md", "-y", env=env)
    assert (status, err) == (0, "")
    assert (linked.cards / "x y.md").exists()
    status, _, err = await run("add", "civitai:99", "--yes", env=env)
    assert (status, "has no model 99" in err) == (2, True)

    editor = tmp_path / "editor.sh"
    editor.write_text('#!/bin/sh\nsed -i "s/^title: .*/title: Edited/" "$1"\n')
    editor.chmod(0o755)
    status, _, err = await run("edit", "x y.md", env=env | {"EDITOR": str(editor), "VISUAL": ""})
    assert (status, err) == (0, "saved\n")
    assert "title: Edited" in (linked.cards / "x y.md").read_text()
    editor.write_text('#!/bin/sh\necho broken >"$1"\n')
    await asyncio.sleep(0)
    status, _, err = await run("edit", "x y.md", env=env | {"EDITOR": str(editor), "VISUAL": ""})
    kept = re.search(r"your text is kept in (\S+): give", err)
    assert kept is not None
    assert (status, Path(kept[1]).read_text()) == (2, "broken\n")
    Path(kept[1]).unlink()
    assert (await run("rm", "x y.md", env=env))[0] == 2
    assert (await run("rm", "x y.md", "--yes", env=env))[0] == 0
    assert not (linked.cards / "x y.md").exists()
    status, _, err = await run("rm", "x y.md", "--yes", env=env)
    assert (status, "no such card" in err) == (2, True)
