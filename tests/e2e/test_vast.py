"""The user's instances at Vast.ai, in a real Chromium and a real terminal, from a stand-in of its API."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from playwright.async_api import expect

from service.demo.vast import StandInVast, instance
from tests.e2e.conftest import World
from tests.e2e.test_library import shoot
from tests.kit.browser import Browser
from tests.terminal.test_terminal import run

KEY = "a-key-of-vast-0123456789abcdef"
HOSTILE = "<img src=x onerror=alert(1)> \x1b[31mred"


class Renting(World):
    """A world whose service asks a stand-in of Vast.ai."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.vast = StandInVast(KEY)

    async def serve(self, **settings: str) -> None:
        await self.service.terminate()
        if not self.vast.url:
            await self.vast.start()
        place = self.vast.url.removeprefix("http://")
        await self.service.start(INSTALLER_VAST_URL=self.vast.url, INSTALLER_OUTBOUND_TARGETS=place, **settings)

    def rent(self) -> None:
        port = [{"HostIp": "0.0.0.0", "HostPort": str(self.instance.port)}]
        self.vast.add(
            instance(101, label=HOSTILE, public_ipaddr="127.0.0.1", ports={"22/tcp": port}),
            instance(102, num_gpus=8, gpu_name="H100 SXM", dph_total=17.25, ports={}, actual_status="stopped"),
            instance(103, actual_status=None, ssh_host=None, public_ipaddr=None, ports=None),
        )


@pytest.fixture
async def renting(tmp_path: Path) -> AsyncIterator[Renting]:
    built = Renting(tmp_path)
    try:
        await built.start()
        await built.serve()
        built.rent()
        yield built
    finally:
        await built.vast.stop()
        await built.close()


async def test_pick_one_in_the_form(renting: Renting, browser: Browser) -> None:
    card = renting.card("other/a.md", "true")
    page = await browser.page(f"{renting.service.url}/#/install")
    await page.get_by_role("button", name="Pick one of my instances at Vast.ai").click()
    await expect(page.get_by_text("shows your instances only with a key")).to_be_visible()
    browser.expect_refused(400)
    await shoot(page, browser, "vast-no-key")
    await page.get_by_label("Vast.ai API key").fill(KEY)
    await page.get_by_role("button", name="Save and list").click()
    await expect(page.get_by_text("8x H100 SXM · $17.250/h")).to_be_visible()
    await expect(page.get_by_text("by Vast.ai's proxy")).to_be_visible()
    await expect(page.get_by_text("no address yet")).to_be_visible()
    await expect(page.get_by_role("button", name="Stop…")).to_have_count(0)
    await shoot(page, browser, "vast-pick")
    await page.get_by_role("button", name="Use it: <img").click()
    await expect(page.get_by_label("Host", exact=True)).to_have_value("127.0.0.1")
    await expect(page.get_by_label("Port")).to_have_value(str(renting.instance.port))
    await page.get_by_label("Folder of ComfyUI").fill(str(renting.ui_home))
    await page.get_by_role("checkbox", name=f"Card {card}").check()
    await page.get_by_role("button", name="Install 1 resource").click()
    await expect(page.locator("h1 .state")).to_have_text("Completed", timeout=60_000)


async def test_stop_and_destroy_only_where_it_is_let_and_after_a_question(renting: Renting, browser: Browser) -> None:
    await renting.serve(INSTALLER_VAST_ALLOW_STOP="true", INSTALLER_VAST_API_KEY=KEY)
    slow = renting.card("other/slow.md", f"until [ -e {renting.folder}/go ]; do sleep 0.1; done")
    job_id = await renting.service.install(renting.instance, renting.ui_home, slow)
    page = await browser.page(f"{renting.service.url}/#/instances")
    await expect(page.get_by_text("1 install not ended")).to_be_visible()
    await shoot(page, browser, "vast-instances")
    await page.get_by_role("button", name="Stop <img").click()
    await expect(page.get_by_role("dialog")).to_contain_text("1 install there has not ended")
    await page.get_by_role("button", name="Keep it").click()
    assert renting.vast.instances[101]["actual_status"] == "running"
    await page.get_by_role("button", name="Stop <img").click()
    await page.get_by_role("button", name="Stop the instance").click()
    await expect(page.get_by_text("Instance 101: stopping")).to_be_visible()
    assert renting.vast.instances[101]["actual_status"] == "stopped"
    await page.get_by_role("button", name="Destroy 102").click()
    await expect(page.get_by_role("dialog")).to_contain_text("This cannot be undone")
    await shoot(page, browser, "vast-destroy")
    await page.get_by_role("button", name="Destroy the instance").click()
    await expect(page.get_by_text("Instance 102: destroyed")).to_be_visible()
    assert sorted(renting.vast.instances) == [101, 103]
    (renting.folder / "go").touch()
    await renting.service.ended(job_id)


async def test_the_same_by_the_terminal(renting: Renting) -> None:
    env = {"INSTALLER_URL": renting.service.url}
    status, _, err = await run("vast", env=env)
    assert (status, "keys set vast" in err) == (2, True)
    await renting.serve(INSTALLER_VAST_API_KEY=KEY)
    env = {"INSTALLER_URL": renting.service.url}
    status, out, err = await run("vast", env=env)
    assert (status, err, "\x1b" in out) == (0, "", False)
    lines = [line.split("\t") for line in out.splitlines()]
    assert [line[0] for line in lines] == ["103", "102", "101"]
    assert lines[1][2:5] == ["8x H100 SXM", "17.250", "stopped"]
    card = renting.card("other/a.md", "true")
    status, out, err = await run("install", lines[2][6], card, "--ui-home", str(renting.ui_home), env=env)
    assert status == 0, err
    assert (await run("vast", "stop", "101", env=env))[0] == 2
    status, _, err = await run("vast", "stop", "101", "--yes", env=env)
    assert (status, "INSTALLER_VAST_ALLOW_STOP" in err) == (2, True)
    await renting.serve(INSTALLER_VAST_API_KEY=KEY, INSTALLER_VAST_ALLOW_STOP="true")
    env = {"INSTALLER_URL": renting.service.url}
    assert (await run("vast", "stop", "101", "--yes", env=env))[0] == 0
    assert (await run("vast", "destroy", "101", "--yes", env=env))[0] == 0
    assert 101 not in renting.vast.instances
