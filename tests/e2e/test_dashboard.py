"""The dashboard in a real Chromium: a person's whole story, against the real civitdl over a real sshd."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from playwright.async_api import Page, Route, WebSocketRoute, expect

from service.demo.civitai import StandInModel
from tests.e2e.conftest import World
from tests.kit.browser import Browser

HOSTILE = "<img src=x onerror=alert(1)>"
PHONE = {"width": 390, "height": 844}
SHOTS = Path(".build/screenshots")
# How long a busy machine may take to show something.
expect.set_options(timeout=30_000)


async def fill_in(page: Page, world: World, *titles: str) -> None:
    """Fill in the instance by its pasted line, and pick these cards."""
    await page.get_by_label("Paste the instance's ssh line").fill(
        f"ssh -p {world.instance.port} root@127.0.0.1 -L 8080:localhost:8080"
    )
    await expect(page.get_by_label("Host", exact=True)).to_have_value("127.0.0.1")
    await expect(page.get_by_label("Port")).to_have_value(str(world.instance.port))
    await expect(page.get_by_label("User")).to_have_value("root")
    await page.get_by_label("Folder of ComfyUI").fill(str(world.ui_home))
    for title in titles:
        await page.get_by_role("checkbox", name=title).check()


async def start(page: Page, world: World, *titles: str) -> str:
    """Start an install from the page; returns the job's id from the address."""
    await page.goto(f"{world.service.url}/#/install")
    await fill_in(page, world, *titles)
    await page.get_by_role("button", name=re.compile("^Install")).click()
    return await opened_job(page)


async def opened_job(page: Page) -> str:
    await expect(page).to_have_url(re.compile(r"#/jobs/[0-9a-f-]{36}$"))
    return page.url.rpartition("/")[2]


async def percent(page: Page, label: str) -> int:
    return int(await page.get_by_role("progressbar", name=label).get_attribute("value") or 0)


async def stands_still(figure: Callable[[], Awaitable[int]], seconds: float) -> int:
    """Wait until the figure has stayed the same for this long; returns it."""
    async with asyncio.timeout(60):
        held, since = await figure(), time.monotonic()
        while time.monotonic() - since < seconds:
            await asyncio.sleep(0.2)
            if (now := await figure()) != held:
                held, since = now, time.monotonic()
    return held


async def refuse_assets(page: Page) -> list[str]:
    """Cut off scripts and styles: the page must have them all by now. Returns what it asks for all the same."""
    asked: list[str] = []

    async def refused(route: Route) -> None:
        asked.append(route.request.url)
        await route.abort()

    await page.route(re.compile(r"/assets/.*\.(js|css)$"), refused)
    return asked


async def test_the_whole_story(world: World, browser: Browser) -> None:
    """Start from the page, see bars move, restart the service, close and open the page, pause, resume, complete."""
    # Slow enough not to end before the pause, even on a slow machine.
    model = StandInModel(id=1001, name=HOSTILE, size_bytes=24_000_000, bytes_per_second=500_000)
    card = world.model(model)
    (world.cards / card).write_text(
        (world.cards / card).read_text().replace(f"title: Card {card}", f'title: "{HOSTILE}"')
    )
    page = await browser.page(world.service.url)
    await expect(page.get_by_text("Nothing was installed yet")).to_be_visible()
    later = await refuse_assets(page)
    await page.get_by_role("link", name="Start an install").last.click()
    await fill_in(page, world, HOSTILE)
    await page.get_by_role("button", name="Install 1 resource").click()
    job_id = await opened_job(page)
    await expect(page.locator("h3", has_text=HOSTILE)).to_be_visible()
    bar = f"{HOSTILE}, model"
    await expect(page.get_by_role("progressbar", name=bar)).to_be_visible()
    first = await percent(page, bar)
    await expect(page.get_by_role("progressbar", name=bar)).not_to_have_attribute("value", str(first))

    await world.service.kill()
    await expect(page.get_by_text("Reconnecting to the service")).to_be_visible()
    await world.service.start()
    await expect(page.get_by_text("Reconnecting to the service")).to_be_hidden()
    await expect(page.get_by_text("the service has restarted")).to_be_visible()

    await expect(page.get_by_role("heading", name="Throughput")).to_be_visible()
    assert later == []
    address = page.url
    await page.close()
    page = await browser.page(address)
    await page.get_by_role("button", name="Pause").click()
    await expect(page.locator("h1 .state")).to_have_text("Paused")
    held = await stands_still(lambda: percent(page, bar), 3)
    assert held < 100
    model.bytes_per_second = 12_000_000
    await page.get_by_role("button", name="Resume").click()
    await expect(page.locator("h1 .state")).to_have_text("Completed", timeout=60_000)
    await expect(page.get_by_text("Everything is installed").first).to_be_visible()
    assert await percent(page, "Whole install") == 100
    assert await percent(page, bar) == 100
    await expect(page.get_by_text("verified").first).to_be_visible()

    history = await world.service.history(job_id)
    shown = page.locator("ol.timeline li")
    lifecycle = [event for event in history if event["type"] not in QUIET]
    await expect(shown).to_have_count(len(lifecycle))
    assert [await each.get_attribute("value") for each in await shown.all()] == [
        str(event["sequence"]) for event in reversed(lifecycle)
    ]
    assert len(world.civitai.downloads(model.id)) == 1


QUIET = ("progress", "output", "stage_start", "stage_complete")


async def test_a_failure_is_understood_from_its_post_mortem(world: World, browser: Browser) -> None:
    world.model(StandInModel(id=1001, name="Keyed", size_bytes=300_000, requires_key="key-of-somebody"))
    page = await browser.page(f"{world.service.url}/#/install")
    job_id = await start(page, world, "Card loras/model_1001.md")
    await expect(page.locator("h1 .state")).to_have_text("Failed", timeout=60_000)
    await page.get_by_role("link", name="Post-mortem").click()
    await expect(page.get_by_role("heading", name="loras/model_1001.md: Auth required")).to_be_visible()
    await expect(page.get_by_text("set INSTALLER_CIVITAI_API_KEY").first).to_be_visible()
    await expect(page.get_by_text("helps only with a key that may download it")).to_be_visible()
    report = await world.service.get(f"/resources/jobs/{job_id}/report")
    rows = page.locator("article.failure tbody tr")
    await expect(rows).to_have_count(len(report["failures"][0]["evidence"]))
    for row, evidence in zip(await rows.all(), report["failures"][0]["evidence"], strict=True):
        await expect(row.locator("td").first).to_have_text(str(evidence["sequence"]))
        assert evidence["line"] in (await row.locator("td.code").text_content() or "")
    async with page.expect_download() as saved:
        await page.get_by_role("button", name="Save as one file").click()
    assert "auth_required" in Path(await (await saved.value).path()).read_text(encoding="utf-8")
    await page.get_by_role("link", name="Failures").click()
    await expect(page.get_by_role("row", name=re.compile("Auth required.*model_1001"))).to_be_visible()


async def test_a_changed_host_key_is_asked_about_and_accepted(world: World, browser: Browser) -> None:
    card = world.card("other/a.md", "true")
    await world.service.ended(await world.service.install(world.instance, world.ui_home, card))
    await world.instance.stop()
    world.instance.new_host_key()
    await world.instance.start()
    page = await browser.page(f"{world.service.url}/#/install")
    refused = await start(page, world, "Card other/a.md")
    await expect(page.get_by_role("heading", name="Is this still your instance?")).to_be_visible()
    await expect(page.locator(".question code").first).to_have_text(world.instance.fingerprint)
    await page.get_by_role("button", name="Trust this key and start again").click()
    await expect(page).not_to_have_url(re.compile(refused))
    await expect(page.locator("h1 .state")).to_have_text("Completed")


async def test_controls_of_the_queue(world: World, browser: Browser) -> None:
    """Move, cancel, retry and delete, each from the page; a refusal shows the service's words."""
    slow = world.card("other/slow.md", 'while [ ! -e "$HOME/go" ]; do sleep 0.1; done')
    quick = world.card("other/quick.md", 'test -e "$HOME/good"')
    running = await world.service.install(world.instance, world.ui_home, slow)
    second = await world.service.install(world.instance, world.ui_home, quick)
    page = await browser.page(f"{world.service.url}/#/install")
    third = await start(page, world, "Card other/quick.md")
    await expect(page.get_by_text("place 2 in the queue")).to_be_visible()
    await page.get_by_label("Move").select_option("first")
    await expect(page.get_by_text("place 1 in the queue")).to_be_visible()
    assert (await world.service.job(second))["queue_position"] == 2
    await page.get_by_label("Limit").select_option("5000000")
    await expect(page.get_by_text("Bandwidth limit changed")).to_be_visible()
    assert (await world.service.job(third))["bandwidth_limit"] == 5_000_000

    await page.goto(f"{world.service.url}/#/jobs/{running}")
    await page.get_by_role("button", name="Cancel").click()
    await page.get_by_role("button", name="Cancel the install").click()
    await expect(page.locator("h1 .state")).to_have_text("Cancelled")

    await page.goto(f"{world.service.url}/#/jobs/{third}")
    await expect(page.locator("h1 .state")).to_have_text("Failed")
    (world.instance.home / "good").touch()
    await page.get_by_role("button", name="Retry the missing resources").click()
    await expect(page).not_to_have_url(re.compile(third))
    await expect(page.locator("h1 .state")).to_have_text("Completed")
    await expect(page.get_by_text(f"retry of {third[:8]}")).to_be_visible()

    await page.get_by_role("button", name="Delete").click()
    await page.get_by_role("button", name="Delete the job").click()
    await expect(page.get_by_role("heading", name="Installs")).to_be_visible()
    await expect(page.locator("li.job")).to_have_count(3)
    await page.get_by_label("State").select_option("cancelled")
    await expect(page.locator("li.job")).to_have_count(1)


async def test_a_wrong_request_shows_its_message_at_the_field(world: World, browser: Browser) -> None:
    world.card("other/a.md", "true")
    page = await browser.page(f"{world.service.url}/#/install")
    await page.get_by_role("button", name="Install").click()
    await expect(page.get_by_text("The instance's address is missing")).to_be_visible()
    await expect(page.get_by_text("Pick at least one resource")).to_be_visible()
    await expect(page.get_by_label("Host", exact=True)).to_be_focused()
    await fill_in(page, world, "Card other/a.md")
    await page.get_by_label("Host", exact=True).fill("no such host name")
    await page.get_by_role("button", name="Install 1 resource").click()
    # The service's own words, at the field that it names.
    await expect(page.locator("#ssh_host-help")).to_have_text(re.compile("must be a host name or an address"))
    browser.expect_refused(400)


async def test_a_token_is_asked_for_once(world: World, browser: Browser) -> None:
    await world.service.terminate()
    await world.service.start(INSTALLER_API_TOKEN="a-token-of-32-characters-or-more!", INSTALLER_PRIVATE_TARGETS="true")
    page = await browser.page(world.service.url)
    await page.get_by_label("API token").fill("not this one")
    await page.get_by_role("button", name="Continue").click()
    await expect(page.get_by_text("The service did not accept this token.")).to_be_visible()
    await page.get_by_label("API token").fill("a-token-of-32-characters-or-more!")
    await page.get_by_role("button", name="Continue").click()
    await expect(page.get_by_text("Nothing was installed yet")).to_be_visible()
    world.card("other/a.md", "echo hello")
    await start(page, world, "Card other/a.md")
    await expect(page.locator("h1 .state")).to_have_text("Completed")
    await page.reload()
    await expect(page.locator("h1 .state")).to_have_text("Completed")
    await expect(page.get_by_label("API token")).to_be_hidden()
    browser.expect_refused(401)


async def test_a_page_waits_for_a_service_that_is_down(world: World, browser: Browser) -> None:
    job_id = await world.service.install(world.instance, world.ui_home, world.card("other/a.md", "echo hello"))
    await world.service.ended(job_id)
    page = await browser.page(f"{world.service.url}/#/failures")
    await expect(page.get_by_text("Nothing failed.")).to_be_visible()
    await world.service.kill()
    for address in (f"#/jobs/{job_id}/report", "#/install", f"#/jobs/{job_id}"):
        await page.evaluate("address => { location.hash = address; }", address)
        await expect(page.get_by_text("The service does not answer")).to_be_visible()
    await world.service.start()
    await expect(page.locator("h1 .state")).to_have_text("Completed")
    await expect(page.get_by_text("The service does not answer")).to_be_hidden()


async def test_a_missing_event_is_asked_for_again(world: World, browser: Browser) -> None:
    """No network loses one message of a connection, so the test takes one out on its way to the page."""
    card = world.card("other/a.md", "for n in $(seq 200); do echo line $n; sleep 0.01; done")
    page = await browser.page("about:blank")
    lost: list[str] = []

    def pass_on(route: WebSocketRoute) -> None:
        server = route.connect_to_server()

        def from_server(message: str | bytes) -> None:
            is_victim = isinstance(message, str) and '"line":"line 100"' in message and not lost
            if is_victim:
                lost.append(str(message))
            else:
                route.send(message)

        server.on_message(from_server)

    await page.route_web_socket(re.compile("socket.io"), pass_on)
    job_id = await start(page, world, f"Card {card}")
    await expect(page.locator("h1 .state")).to_have_text("Completed")
    assert len(lost) == 1
    lines = [event["line"] for event in await world.service.history(job_id) if event["type"] == "output"]
    shown = (await page.locator("pre.output").text_content() or "").splitlines()
    assert shown == lines
    assert "line 100" in shown


async def test_every_page_is_accessible_and_fits_a_phone(world: World, browser: Browser) -> None:
    """axe-core finds nothing serious; nothing is wider than the screen. Screenshots of all lie in .build."""
    world.card("checkpoints/flux.md", "true", front="type: checkpoint\necosystem: flux\nsize: 23800000000\n")
    keyed = world.model(StandInModel(id=1001, name="Keyed", size_bytes=300_000, requires_key="key-of-somebody"))
    slow = world.model(StandInModel(id=1002, name=HOSTILE, size_bytes=400_000_000, bytes_per_second=2_000_000))
    failed = await world.service.install(world.instance, world.ui_home, keyed)
    await world.service.ended(failed)
    running = await world.service.install(world.instance, world.ui_home, slow, keyed)
    queued = await world.service.install(world.instance, world.ui_home, keyed)
    while (await world.service.job(running))["resources"][0]["stage"] != "model":
        await asyncio.sleep(0.1)
    addresses = {
        "installs": "#/",
        "start": "#/install",
        "running": f"#/jobs/{running}",
        "queued": f"#/jobs/{queued}",
        "failed": f"#/jobs/{failed}",
        "post-mortem": f"#/jobs/{failed}/report",
        "failures": "#/failures",
        "replicas": "#/replicas",
    }
    SHOTS.mkdir(parents=True, exist_ok=True)
    for scheme in ("light", "dark"):
        for size in ("desktop", "phone"):
            page = await browser.page(world.service.url, scheme=scheme, viewport=PHONE if size == "phone" else None)
            for name, address in addresses.items():
                await page.goto(f"{world.service.url}/{address}")
                await expect(page.locator("h1")).to_be_visible()
                await page.wait_for_load_state("networkidle")
                await expect(page.get_by_text("Replaying")).to_be_hidden()
                assert await browser.axe(page) == [], f"{name}, {size}, {scheme}"
                width = await page.evaluate("document.documentElement.scrollWidth - innerWidth")
                assert width <= 0, f"{name} is {width} pixels too wide for a {size}"
                await page.screenshot(path=SHOTS / f"{name}-{size}-{scheme}.png", full_page=True)
            await page.close()
    await world.service.post(f"/resources/jobs/{running}/cancel", {})


async def test_the_keyboard_is_enough(world: World, browser: Browser) -> None:
    world.card("other/a.md", "echo by keyboard")
    page = await browser.page(f"{world.service.url}/#/install")
    await page.get_by_label("Paste the instance's ssh line").focus()
    await page.keyboard.type(f"ssh -p {world.instance.port} root@127.0.0.1")
    for _ in range(4):
        await page.keyboard.press("Tab")
    await page.keyboard.press("Control+A")
    await page.keyboard.type(str(world.ui_home))
    await page.get_by_role("checkbox", name="Card other/a.md").focus()
    await page.keyboard.press("Space")
    await page.keyboard.press("Enter")
    await expect(page.locator("h1 .state")).to_have_text("Completed")
    await expect(page.locator("h1")).to_be_focused()


async def test_pasted_lines_are_split(world: World, browser: Browser) -> None:
    cases = json.loads((Path(__file__).parents[1] / "ssh_lines.json").read_text(encoding="utf-8"))
    page = await browser.page(f"{world.service.url}/#/install")
    field = page.get_by_label("Paste the instance's ssh line")
    for case in cases:
        await field.fill("")
        for name in ("Host", "Port", "User"):
            await page.get_by_label(name, exact=True).fill("")
        await field.fill(case["line"])
        if case["target"] is None:
            await expect(page.get_by_text("This is not an ssh line")).to_be_visible()
            continue
        expected = case["target"]
        await expect(page.get_by_label("Host", exact=True)).to_have_value(expected["host"])
        await expect(page.get_by_label("Port")).to_have_value(str(expected["port"] or 22))
        await expect(page.get_by_label("User")).to_have_value(expected["user"] or "")
