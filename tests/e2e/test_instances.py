"""An instance in a real Chromium and a real terminal: checked before an install, its queue, and its models folder."""

from __future__ import annotations

import asyncio
import contextlib
import re

import aiohttp
import pytest
from playwright.async_api import expect

from service.demo.civitai import StandInModel
from tests.e2e.conftest import World
from tests.e2e.test_library import shoot
from tests.kit.browser import Browser
from tests.kit.service import check_stream
from tests.kit.sshd import USER
from tests.terminal.test_terminal import run

HOSTILE = "<img src=x onerror=alert(1)> `touch owned` $(id).safetensors"


def put(world: World, path: str, content: bytes = bytes(5_000)) -> None:
    file = world.ui_home / "models" / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)


async def test_check_an_instance_before_an_install(world: World, browser: Browser) -> None:
    world.model(StandInModel(id=31, name="Light", size_bytes=50_000))
    (world.instance.home / "ComfyUI/models").mkdir(parents=True)
    (world.instance.home / "ComfyUI/main.py").touch()
    page = await browser.page(f"{world.service.url}/#/install")
    button = page.get_by_role("button", name="Check the instance")
    await button.click()
    await expect(page.locator("#ssh_host-help")).to_have_text(re.compile("Paste the ssh line"))
    await page.get_by_label("Paste the instance's ssh line").fill(f"ssh -p {world.instance.port} {USER}@127.0.0.1")
    await page.get_by_label("Folder of ComfyUI").fill(str(world.folder / "nowhere"))
    await button.click()
    await expect(page.get_by_text("An install can begin.")).to_be_visible()
    lines = page.locator("li.check")
    await expect(lines).to_have_count(7)
    await expect(page.locator("li.check.failed")).to_have_count(0)
    await shoot(page, browser, "check-good")
    await page.get_by_role("button", name=f"Use {world.instance.home}/ComfyUI").click()
    await expect(page.get_by_label("Folder of ComfyUI")).to_have_value(f"{world.instance.home}/ComfyUI")

    # The instance is another one by now: its key is accepted by hand.
    card = world.card("other/a.md", "true")
    await world.service.ended(await world.service.install(world.instance, world.ui_home, card))
    await world.instance.stop()
    world.instance.new_host_key()
    await world.instance.start()
    await button.click()
    await expect(page.get_by_text("An install cannot begin yet.")).to_be_visible()
    await shoot(page, browser, "check-changed-key")
    await page.get_by_role("button", name="It is my new instance").click()
    await button.click()
    await expect(page.get_by_text("An install can begin.")).to_be_visible()

    # It refuses the key.
    (world.instance.folder / "authorized_keys").write_text("")
    await button.click()
    await expect(page.get_by_role("link", name="Let the service make a key")).to_be_visible()
    await shoot(page, browser, "check-refused")


async def test_the_page_of_an_instance(world: World, browser: Browser) -> None:
    model = StandInModel(id=32, name="Light", size_bytes=50_000)
    card = world.model(model)
    await world.service.ended(await world.service.install(world.instance, world.ui_home, card))
    put(world, f"loras/{HOSTILE}")
    put(world, "loras/half.safetensors.part")
    put(world, "checkpoints/page.safetensors", b"<html>Sign in</html>")
    for number in range(70):
        put(world, f"embeddings/e{number:02}.pt")
    page = await browser.page(f"{world.service.url}/#/instances")
    await expect(page.get_by_text("shows your instances only with a key")).to_be_visible()
    browser.expect_refused(400)
    await shoot(page, browser, "instances")
    await page.get_by_role("link", name=f"@127.0.0.1:{world.instance.port}").click()
    await expect(page.get_by_text("text, not a model")).to_be_visible()
    await expect(page.get_by_text("half a file")).to_be_visible()
    await expect(page.get_by_role("checkbox", name=HOSTILE)).to_be_visible()
    await expect(page.get_by_role("link", name=card)).to_be_visible()
    await expect(page.get_by_role("button", name="Show all 70 files")).to_be_visible()
    await shoot(page, browser, "instance")
    await page.get_by_role("checkbox", name=HOSTILE).check()
    await page.get_by_role("checkbox", name="half.safetensors.part").check()
    await page.get_by_role("button", name="Remove 2 files…").click()
    dialog = page.get_by_role("dialog")
    await expect(dialog).to_contain_text("half.safetensors.part")
    await shoot(page, browser, "instance-remove")
    await page.keyboard.press("Escape")
    assert (world.ui_home / "models/loras" / HOSTILE).exists()
    await page.get_by_role("button", name="Remove 2 files…").click()
    await page.get_by_role("button", name="Remove them").click()
    await expect(page.get_by_text("2 files removed.")).to_be_visible()
    await expect(page.get_by_text("half a file")).to_be_hidden()
    assert not (world.ui_home / "models/loras" / HOSTILE).exists()
    await page.get_by_role("link", name="What happened").click()
    await expect(page.get_by_text("The files are removed.")).to_be_visible()
    await expect(page.locator(".timeline")).to_contain_text("Removal accepted")
    await expect(page.locator(".timeline")).to_contain_text("loras/half.safetensors.part")
    await shoot(page, browser, "job-removal")

    # Back by its own link; more is installed there with the form filled in.
    await page.get_by_role("link", name=f"@127.0.0.1:{world.instance.port}").click()
    await page.get_by_label("Find").fill("light")
    await expect(page.locator("li.file")).not_to_have_count(0)
    await expect(page.get_by_text("embeddings")).to_be_hidden()
    await page.get_by_role("link", name="Install more").click()
    await expect(page.get_by_label("Host", exact=True)).to_have_value("127.0.0.1")
    await expect(page.get_by_label("Port")).to_have_value(str(world.instance.port))
    await expect(page.get_by_label("Folder of ComfyUI")).to_have_value(str(world.ui_home))


async def test_the_queue_of_an_instance(world: World, browser: Browser) -> None:
    slow = world.card("other/slow.md", f"until [ -e {world.folder}/go ]; do sleep 0.1; done")
    ids = [await world.service.install(world.instance, world.ui_home, slow) for _ in range(2)]
    page = await browser.page(f"{world.service.url}/#/instances/{USER}%40127.0.0.1%3A{world.instance.port}")
    queue = page.get_by_role("region", name="Queue")
    await expect(queue.locator(".job")).to_have_count(2)
    await queue.get_by_role("button", name="Pause all").click()
    await expect(queue.get_by_text("2 installs paused")).to_be_visible()
    await expect(queue.locator(".state.paused")).to_have_count(2)
    await shoot(page, browser, "instance-queue")
    (world.folder / "go").touch()
    await queue.get_by_role("button", name="Resume all").click()
    await expect(queue.get_by_text("2 installs resumed")).to_be_visible()
    assert [(await world.service.ended(job_id))["state"] for job_id in ids] == ["completed"] * 2


async def test_an_instance_that_is_gone(world: World, browser: Browser) -> None:
    card = world.card("other/a.md", "true")
    await world.service.ended(await world.service.install(world.instance, world.ui_home, card))
    await world.instance.stop()
    page = await browser.page(f"{world.service.url}/#/instances/{USER}%40127.0.0.1%3A{world.instance.port}")
    await expect(page.get_by_role("alert")).to_contain_text("Connection refused")
    browser.expect_refused(502)
    await shoot(page, browser, "instance-gone")
    await world.instance.start()
    await page.get_by_role("button", name="Look again").click()
    await expect(page.get_by_text("There is no folder models below")).to_be_visible()


async def test_the_same_by_the_terminal(world: World) -> None:
    env = {"INSTALLER_URL": world.service.url}
    line = f"ssh -p {world.instance.port} {USER}@127.0.0.1"
    status, out, err = await run("check", line, "--ui-home", str(world.ui_home), env=env)
    assert (status, len(out.splitlines())) == (0, 7), err
    status, out, _ = await run("check", f"{USER}@127.0.0.1:1", env=env)
    assert (status, "nothing listens" in out) == (1, True)
    card = world.card("other/a.md", "true")
    await world.service.ended(await world.service.install(world.instance, world.ui_home, card))
    put(world, "loras/a\x1b[31m.safetensors")
    put(world, "loras/old.safetensors")
    status, out, _ = await run("instances", env=env)
    name = out.split("\t")[0]
    assert name == f"{USER}@127.0.0.1:{world.instance.port}"
    status, out, err = await run("models", name, env=env)
    assert (status, "\x1b" in out, "loras/old.safetensors\t5 kB\tmodel" in out) == (0, False, True)
    assert "2 files, 10 kB" in err
    status, out, err = await run("models", line, "--rm", "loras/old.safetensors", env=env)
    assert (status, "say --yes" in err) == (2, True)
    status, out, err = await run("models", line, "--rm", "loras/old.safetensors", "--yes", env=env)
    assert (status, "1 file will be removed" in err) == (0, True)
    assert (await world.service.ended(out.strip()))["state"] == "completed"
    assert not (world.ui_home / "models/loras/old.safetensors").exists()
    status, out, _ = await run("watch", out.strip(), env=env)
    assert (status, "the files are removed" in out, "loras/old.safetensors" in out) == (0, True, True)


@pytest.mark.parametrize("commit", [2, 3, 4, 5])
async def test_a_removal_outlives_a_service_that_is_killed(world: World, commit: int) -> None:
    """Whatever commit it dies at, the file is gone in the end, and the job has one end."""
    put(world, "loras/old.safetensors")
    await world.service.terminate()
    await world.service.start(INSTALLER_CRASH_AT=f"after_commit:{commit}")
    instance = f"{USER}@127.0.0.1:{world.instance.port}"
    body = {"ui_home": str(world.ui_home), "paths": ["loras/old.safetensors"]}
    # It may die before it has answered.
    with contextlib.suppress(aiohttp.ClientError):
        await world.service.post(f"/instances/{instance}/removals", body)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(5):
            await world.service.wait()
    await world.service.kill()
    await world.service.start()
    (job,) = (await world.service.get("/resources/jobs"))["jobs"]
    assert (await world.service.ended(job["job_id"]))["state"] == "completed"
    history = await world.service.history(job["job_id"])
    check_stream(history)
    assert [event["path"] for event in history if event["type"] == "file_removed"][:1] == ["loras/old.safetensors"]
    assert not (world.ui_home / "models/loras/old.safetensors").exists()
    await world.service.terminate()
    world.check_database()
