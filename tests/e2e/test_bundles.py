"""Selections in a real Chromium and a real terminal: saved under a name, exported, imported, linked to, installed."""

from __future__ import annotations

import json
from pathlib import Path

from playwright.async_api import expect

from tests.e2e.conftest import World
from tests.e2e.test_library import shoot
from tests.kit.browser import Browser
from tests.terminal.test_terminal import run


async def test_a_selection_in_the_browser(world: World, browser: Browser, tmp_path: Path) -> None:
    url = world.service.url
    world.card("a.md", "echo a")
    world.card("b.md", "echo b")
    page = await browser.page(f"{url}/#/resources")
    await page.get_by_role("checkbox", name="Card a.md").check()
    await page.get_by_role("checkbox", name="Card b.md").check()
    assert await browser.axe(page) == []

    # 1. A link fills in the form and starts nothing.
    await page.get_by_role("button", name="Link to them").click()
    link = await page.get_by_label("Link", exact=True).input_value()
    assert link == f"{url}/#/install?cards=a.md,b.md"
    linked = await browser.page(link)
    await expect(linked.get_by_role("checkbox", name="Card a.md")).to_be_checked()
    await expect(linked.get_by_role("checkbox", name="Card b.md")).to_be_checked()
    assert (await world.service.get("/resources/jobs"))["jobs"] == []

    # 2. Exported, with what it needs.
    async with page.expect_download() as downloading:
        await page.get_by_role("button", name="Export as a file").click()
    download = await downloading.value
    exported = tmp_path / "exported.json"
    await download.save_as(exported)
    assert [card["path"] for card in json.loads(exported.read_text())["cards"]] == ["a.md", "b.md"]

    # 3. Saved under a name; its page says where it was installed.
    await page.get_by_role("button", name="Save them under a name").click()
    await page.get_by_label("Name").fill('Both: "of them"')
    await page.get_by_role("button", name="Save", exact=True).click()
    await expect(page.get_by_role("heading", name='Both: "of them"')).to_be_visible()
    await expect(page.get_by_text("Nowhere as yet.")).to_be_visible()
    job_id = await world.service.install(world.instance, world.ui_home, "bundles/both_of_them.md")
    assert (await world.service.ended(job_id))["total"] == 3
    (world.cards / "a.md").write_text((world.cards / "a.md").read_text() + "\nmore\n")
    page = await browser.page(f"{url}/#/resources/a.md")
    row = page.get_by_role("row").filter(has_text=f":{world.instance.port}")
    await expect(row).to_contain_text("Installed")
    await expect(row).to_contain_text("no")
    assert await browser.axe(page) == []
    await shoot(page, browser, "card_installs")
    await row.get_by_role("link").click()
    await page.wait_for_url(f"**/#/jobs/{job_id}")

    # 4. Imported: shown, then saved; what is there stays unless a person says so.
    (world.cards / "b.md").unlink()
    page = await browser.page(f"{url}/#/resources")
    await page.get_by_label("A file that was exported").set_input_files(exported)
    await expect(page.get_by_role("region", name="What Card b.md runs on an instance")).to_contain_text("echo b")
    assert not (world.cards / "b.md").exists()
    assert await browser.axe(page) == []
    await shoot(page, browser, "import")
    await page.get_by_role("button", name="Save 1 card", exact=True).click()
    await expect(page.get_by_text("1 of 2 cards saved")).to_be_visible()
    assert (world.cards / "b.md").exists()
    assert "more" in (world.cards / "a.md").read_text()
    await page.get_by_label("A file that was exported").set_input_files(exported)
    await page.get_by_label("Replace").check()
    await page.get_by_role("button", name="Save 1 card", exact=True).click()
    await expect(page.get_by_text("1 of 2 cards saved")).to_be_visible()
    assert "more" not in (world.cards / "a.md").read_text()
    # What is no such file says so.
    wrong = tmp_path / "wrong.json"
    wrong.write_text("<img src=x onerror=alert(1)>")
    await page.get_by_label("A file that was exported").set_input_files(wrong)
    await expect(page.get_by_text("This file is not JSON")).to_be_visible()


async def test_a_selection_in_the_terminal(world: World, tmp_path: Path) -> None:
    async def said(*arguments: str) -> tuple[int, str, str]:
        return await run(*arguments, env={"INSTALLER_URL": world.service.url})

    world.card("a.md", "echo a")
    world.card("b.md", "echo '\033[31mb'", "dependencies: [a.md]\n")
    assert await said("bundle", "My picks", "b.md") == (0, "bundles/my_picks.md\n", "")
    file = tmp_path / "picks.json"
    status, _, told = await said("export", "bundles/my_picks.md", "-o", str(file))
    assert (status, "3 cards written" in told) == (0, True)
    assert json.loads((await said("export", "a.md"))[1])["cards"][0]["path"] == "a.md"
    for path in ("b.md", "bundles/my_picks.md"):
        (world.cards / path).unlink()
    (world.cards / "a.md").write_text((world.cards / "a.md").read_text() + "\nmore\n")
    # Nobody is there to agree.
    status, shown, told = await said("import", str(file))
    assert (status, "say --yes" in told) == (2, True)
    assert "echo '" in shown
    assert "\033" not in shown
    assert not (world.cards / "b.md").exists()
    status, _, told = await said("import", str(file), "--yes")
    assert (status, "2 of 3 cards saved" in told) == (0, True)
    assert "more" in (world.cards / "a.md").read_text()
    status, _, told = await said("import", str(file), "--yes", "--replace")
    assert (status, "1 of 3 cards saved" in told) == (0, True)
    assert "more" not in (world.cards / "a.md").read_text()
    assert (await said("import", str(file), "--yes"))[2].strip().endswith("there is nothing to save")
