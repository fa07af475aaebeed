"""From a workflow to its models on an instance: in a real Chromium, and in a real terminal."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from playwright.async_api import expect

from service.demo.civitai import StandInModel
from service.demo.huggingface import StandInRepository
from tests.e2e.conftest import World
from tests.e2e.test_library import Linked, linked, shoot
from tests.kit.browser import Browser
from tests.kit.sshd import USER
from tests.terminal.test_terminal import run

__all__ = ["linked"]
HUB = "https://huggingface.co/o/flux/resolve/main/"


def workflow(*more: Any) -> str:
    """Of two models with addresses, one that the library has, one that nobody knows, and a hostile one."""
    listed = [
        {"name": "ae.safetensors", "url": f"{HUB}split_files/vae/ae.safetensors", "directory": "vae"},
        {"name": "flux.safetensors", "url": f"{HUB}flux.safetensors", "directory": "diffusion_models"},
        {"name": "evil.safetensors", "url": "javascript:alert(1)", "directory": "../../etc"},
    ]
    nodes = [
        {"type": "VAELoader", "widgets_values": ["ae.safetensors"], "properties": {"models": listed}},
        {"type": "LoraLoader", "widgets_values": ["there.safetensors", 1, 1]},
        {"type": "LoraLoader", "widgets_values": ["<img src=x onerror=alert(1)>.safetensors", 1, 1]},
        *more,
    ]
    return json.dumps({"nodes": nodes})


def prepare(world: Linked) -> None:
    model = StandInModel(id=7, name="", size_bytes=60_000)
    files = {"split_files/vae/ae.safetensors": model, "flux.safetensors": model}
    world.hub.add(StandInRepository(name="o/flux", files=files))
    world.card("loras/there.md", 'mkdir -p "$UI_HOME/models/loras"; : # there.safetensors', "installs: nothing\n")


async def test_one_click_makes_the_cards_and_installs(linked: Linked, browser: Browser, tmp_path: Path) -> None:
    prepare(linked)
    page = await browser.page(f"{linked.service.url}/#/install")
    await page.get_by_role("button", name="From a workflow").click()
    await page.get_by_label("Or paste it").fill("[not a workflow")
    await expect(page.locator("#workflow-text-help")).to_have_text(re.compile("not JSON"))
    browser.expect_refused(400)
    file = tmp_path / "flow.json"
    file.write_text(workflow())
    await page.get_by_label("Drop a workflow here").set_input_files(file)
    panel = page.get_by_role("region", name="A workflow")
    await expect(panel.get_by_text("5 models: 1 in the library, 2 missing, 1 no address, 1 refused")).to_be_visible()
    await expect(panel.get_by_text("its directory is no folder below models/")).to_be_visible()
    await expect(panel.get_by_role("link", name="loras/there.md")).to_be_visible()
    await shoot(page, browser, "workflow")
    await page.get_by_label("Paste the instance's ssh line").fill(f"ssh -p {linked.instance.port} {USER}@127.0.0.1")
    await page.get_by_label("Folder of ComfyUI").fill(str(linked.ui_home))
    await panel.get_by_role("button", name="Make 2 cards and install all").click()
    await expect(page.locator("h1 .state")).to_have_text("Completed", timeout=60_000)
    models = linked.ui_home / "models"
    assert (models / "vae/ae.safetensors").stat().st_size == 60_000
    assert (models / "diffusion_models/flux.safetensors").stat().st_size == 60_000
    # A file that is too long is not even sent.
    await page.get_by_role("link", name="Start an install").click()
    await page.get_by_role("button", name="From a workflow").click()
    file.write_text(" " * 1_000_001)
    await page.get_by_label("Drop a workflow here").set_input_files(file)
    await expect(page.locator("#workflow-text-help")).to_have_text(re.compile("more than a megabyte"))


async def test_what_cannot_be_added_is_said_and_the_rest_is_picked(linked: Linked, browser: Browser) -> None:
    prepare(linked)
    gone = {"name": "gone.safetensors", "url": f"{HUB}gone.safetensors", "directory": "loras"}
    page = await browser.page(f"{linked.service.url}/#/install")
    await page.get_by_role("button", name="From a workflow").click()
    await page.get_by_label("Or paste it").fill(workflow({"type": "x", "properties": {"models": [gone]}}))
    await page.get_by_role("button", name="Make 3 cards and pick all").click()
    await expect(page.get_by_text("gone.safetensors: ")).to_be_visible()
    browser.expect_refused(404)
    await expect(page.get_by_role("button", name=re.compile("Install 3 resources"))).to_be_visible()
    await expect(page.get_by_text("3 in the library, 1 missing")).to_be_visible()
    await shoot(page, browser, "workflow-failed")


async def test_the_same_by_the_terminal(linked: Linked, tmp_path: Path) -> None:
    prepare(linked)
    env = {"INSTALLER_URL": linked.service.url}
    file = tmp_path / "flow.json"
    file.write_text(workflow())
    status, out, _ = await run("workflow", str(file), env=env)
    rows = [line.split("\t") for line in out.splitlines()]
    assert (status, [row[1] for row in rows]) == (
        1,
        ["missing", "missing", "refused", "in the library", "no address"],
    )
    assert (await run("workflow", str(file), "--add", env=env))[0] == 2
    status, out, err = await run("workflow", str(file), "--add", "--yes", env=env)
    assert (status, "nobody says where it comes from" in err, HUB in err) == (1, True, True)
    cards = out.splitlines()
    assert (len(cards), cards[0]) == (3, "loras/there.md")
    line = f"ssh -p {linked.instance.port} {USER}@127.0.0.1"
    status, _, err = await run("install", line, *cards, "--ui-home", str(linked.ui_home), env=env)
    assert status == 0, err
    file.write_text("[]")
    status, _, err = await run("workflow", str(file), env=env)
    assert (status, "not a workflow" in err) == (2, True)
    said = (await run("workflow", str(tmp_path / "none.json"), env=env))[2]
    # It stands in a frame, and its lines break anywhere.
    assert "cannot be read" in " ".join(said.replace("│", "").split())


async def test_the_catalogue_by_the_terminal(world: World, tmp_path: Path) -> None:
    entry = {
        "name": "Sharp",
        "type": "upscale",
        "save_path": "default",
        "filename": "s.pth",
        "url": "https://x.example/s.pth",
    }
    (tmp_path / "list.json").write_text(json.dumps({"models": [entry]}))
    await world.service.terminate()
    await world.service.start(INSTALLER_CATALOGUE=str(tmp_path / "list.json"))
    env = {"INSTALLER_URL": world.service.url}
    assert "--refresh" in (await run("catalogue", env=env))[2]
    status, out, err = await run("catalogue", "sharp", "--refresh", env=env)
    assert (status, "1 models" in err, out.split("\t")[3]) == (0, True, "upscale_models")
    assert (await run("catalogue", "blunt", env=env))[1] == ""


async def test_the_catalogue_in_the_library(linked: Linked, browser: Browser, tmp_path: Path) -> None:
    prepare(linked)
    entry = {
        "name": "Flux <b>VAE</b>",
        "type": "VAE",
        "base": "FLUX.1",
        "save_path": "vae/flux",
        "filename": "ae.safetensors",
        "url": f"{HUB}split_files/vae/ae.safetensors",
        "size": "335MB",
    }
    other = {"base": "SDXL", "save_path": "loras", "type": "lora"}
    others = [entry | other | {"name": f"Other {number}", "url": f"{HUB}{number}.pt"} for number in range(60)]
    (tmp_path / "list.json").write_text(json.dumps({"models": [*others, entry]}))
    await linked.serve(INSTALLER_CATALOGUE=str(tmp_path / "list.json"))
    page = await browser.page(f"{linked.service.url}/#/resources")
    await page.get_by_text("From the catalogue").click()
    await expect(page.get_by_text("Not read yet.")).to_be_visible()
    await page.get_by_role("button", name="Read the catalogue").click()
    await expect(page.get_by_text("61 models, read")).to_be_visible()
    await page.get_by_label("Find").fill("flux vae")
    await expect(page.get_by_role("button", name="Look at it: Flux <b>VAE</b>")).to_be_visible()
    await shoot(page, browser, "catalogue")
    await page.get_by_role("button", name="Look at it: Flux <b>VAE</b>").click()
    await expect(page.get_by_label("Folder below models/")).to_have_value("vae/flux")
    await page.get_by_role("button", name="Save to the library").click()
    await expect(page).to_have_url(re.compile(r"#/resources/vae/.*\.md$"))
