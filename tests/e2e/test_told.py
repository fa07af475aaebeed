"""Receivers are told how jobs end: over a real sshd, with real receivers, a real terminal and a real Chromium."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

import aiohttp
import pytest
from playwright.async_api import expect
from standardwebhooks import Webhook

from service.demo.vast import StandInVast, instance
from tests.e2e.conftest import World
from tests.e2e.test_library import shoot
from tests.kit.browser import Browser
from tests.kit.receiver import SECRET, Receiver, receiving
from tests.kit.service import until
from tests.terminal.test_terminal import run

DONE = 'mkdir -p "$UI_HOME/models" && echo done'
WRONG = "echo no; exit 3"
SLOW = f"sleep 1; {DONE}"
VAST_KEY = "a-key-of-vast-0123456789abcdef"


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as found:
        yield found


async def serve(world: World, *receivers: Receiver, **more: str) -> None:
    await world.service.terminate()
    world.service._settings |= {
        "INSTALLER_OUTBOUND_TARGETS": ",".join(receiver.target for receiver in receivers),
        "INSTALLER_KEY_FILE": str(world.folder / "key_file"),
        **more,
    }
    await world.service.start()


def named(*receivers: Receiver) -> dict[str, str]:
    """The settings that name these."""
    urls = ",".join(receiver.url for receiver in receivers)
    return {"INSTALLER_WEBHOOK_URLS": urls, "INSTALLER_WEBHOOK_SECRET": SECRET}


async def test_receivers_of_settings_and_clients_are_told(world: World, receiver: Receiver) -> None:
    async with receiving() as other:
        await serve(world, receiver, other, **named(receiver))
        status, added = await world.service.post("/receivers", {"url": other.url, "events": ["failed"]})
        assert (status, added["kind"], added["pending"]) == (201, "webhook", 0)
        good, bad = world.card("a.md", DONE), world.card("b.md", WRONG)
        done = await world.service.install(world.instance, world.ui_home, good)
        await world.service.ended(done)
        failed = await world.service.install(world.instance, world.ui_home, bad)
        await world.service.ended(failed)
        await until(lambda: len(receiver.sent) == 2 and len(other.sent) == 1)
        assert receiver.kinds(done) == ["job.completed"]
        assert receiver.kinds(failed) == other.kinds(failed) == ["job.failed"]
        told = Webhook(SECRET).verify(receiver.sent[1].body, receiver.sent[1].headers)
        assert Webhook(added["secret"]).verify(other.sent[0].body, other.sent[0].headers) == told
        data = told["data"]
        assert (data["host"], data["port"], data["installed"], data["total"]) == (
            "127.0.0.1",
            world.instance.port,
            0,
            1,
        )
        assert (data["failures"][0]["resource"], data["cost"]) == ("b.md", None)
        # What is secret is in no answer and in no log.
        listed = json.dumps(await world.service.get("/receivers"))
        assert added["secret"] not in listed
        assert "/hook" not in listed
        assert SECRET not in world.service.log + listed
        assert "/hook" not in world.service.log
    world.check_database()


async def test_what_an_install_has_cost_is_told_where_the_price_is_known(world: World, receiver: Receiver) -> None:
    site = StandInVast(VAST_KEY)
    rented = instance(
        101, public_ipaddr="127.0.0.1", ports={"22/tcp": [{"HostPort": str(world.instance.port)}]}, dph_total=3_600.0
    )
    site.add(rented)
    await site.start()
    try:
        targets = f"{receiver.target},{site.url.removeprefix('http://')}"
        vast = {"INSTALLER_VAST_URL": site.url, "INSTALLER_VAST_API_KEY": VAST_KEY}
        await serve(world, receiver, **{**named(receiver), **vast, "INSTALLER_OUTBOUND_TARGETS": targets})
        await world.service.ended(await world.service.install(world.instance, world.ui_home, world.card("a.md", SLOW)))
        await until(lambda: len(receiver.sent) == 1)
        cost = json.loads(receiver.sent[0].body)["data"]["cost"]
        # A dollar a second.
        assert cost["currency"] == "USD"
        assert 1 <= cost["amount"] <= 60
        # However many installs begin, the site is asked at most each ten seconds.
        await world.service.ended(await world.service.install(world.instance, world.ui_home, world.card("b.md", DONE)))
        await until(lambda: len(receiver.sent) == 2)
        assert len(site.requests) <= 3
    finally:
        await site.stop()


async def test_a_slow_receiver_holds_up_no_install_and_a_kill_loses_nothing(world: World, receiver: Receiver) -> None:
    receiver.seconds = 60
    await serve(world, receiver, **named(receiver))
    card = world.card("a.md", DONE)
    jobs = [await world.service.install(world.instance, world.ui_home, card) for _ in range(6)]
    for job_id in jobs:
        assert (await world.service.ended(job_id, seconds=40))["state"] == "completed"
    # Committed, and not one of them delivered.
    assert receiver.accepted == []
    await world.service.kill()
    receiver.seconds = 0
    await world.service.start()
    await until(lambda: all(receiver.kinds(job_id) == ["job.completed"] for job_id in jobs))
    world.check_database()


@pytest.mark.long
@pytest.mark.parametrize("point", ["before_append", "after_append", "after_commit", "after_emit"])
async def test_a_crash_around_the_commit_of_an_end(world: World, receiver: Receiver, point: str) -> None:
    """Whichever commit it is: each end that the log holds is told."""
    await serve(world, receiver, **named(receiver))
    card = world.card("a.md", DONE)
    job_id = await world.service.install(world.instance, world.ui_home, card)
    await world.service.ended(job_id)
    commits = len(await world.service.history(job_id))
    for at in range(max(1, commits - 4), commits + 1):
        await world.service.terminate()
        await world.service.start(INSTALLER_CRASH_AT=f"{point}:{at}")
        try:
            job_id = await world.service.install(world.instance, world.ui_home, card)
            await world.service.ended(job_id)
        except (aiohttp.ClientError, AssertionError):
            await world.service.wait()
            await world.service.start()
        for job in (await world.service.get("/resources/jobs"))["jobs"]:
            await world.service.ended(job["job_id"])
    ended = [job["job_id"] for job in (await world.service.get("/resources/jobs"))["jobs"]]
    await until(lambda: all(receiver.kinds(each) == ["job.completed"] for each in ended))
    world.check_database()


async def test_receivers_in_the_terminal(world: World, receiver: Receiver) -> None:
    await serve(world, receiver)

    async def told(*arguments: str) -> tuple[int, str, str]:
        return await run(*arguments, env={"INSTALLER_URL": world.service.url})

    status, secret, said = await told("receivers", "add", receiver.url, "--name", "mine", "--on", "failed")
    assert (status, secret.startswith("whsec_"), "not shown again" in said) == (0, True, True)
    status, listed, _ = await told("receivers")
    receiver_id, name, address, events, waiting, _ = listed.rstrip("\n").split("\t")
    assert (name, address, events, waiting) == ("mine", f"http://{receiver.target}/…", "failed", "0")
    assert (await told("receivers", "test", receiver_id[:6]))[0] == 0
    assert Webhook(secret.strip()).verify(receiver.sent[0].body, receiver.sent[0].headers)["type"] == "test"
    receiver.status = 500
    status, _, said = await told("receivers", "test", receiver_id)
    assert (status, "answered 500" in said) == (1, True)
    status, _, said = await told("receivers", "add", "http://169.254.169.254/")
    assert (status, "link-local" in said) == (2, True)
    assert (await told("receivers", "rm", receiver_id, "--yes"))[0] == 0
    assert (await told("receivers"))[1] == ""


async def test_receivers_in_the_browser(world: World, receiver: Receiver, browser: Browser) -> None:
    await serve(world, receiver)
    page = await browser.page(f"{world.service.url}/#/receivers")
    await expect(page.get_by_text("Nobody is told as yet.")).to_be_visible()
    assert await browser.axe(page) == []
    await page.get_by_label("Address").fill("http://10.0.0.1/hook")
    await page.get_by_role("button", name="Add").click()
    await expect(page.get_by_text("INSTALLER_OUTBOUND_TARGETS")).to_be_visible()
    browser.expect_refused(400)
    await page.get_by_label("Address").fill(receiver.url)
    await page.get_by_label("Name").fill("<b>mine</b>")
    await page.get_by_label("cancelled").uncheck()
    await page.get_by_role("button", name="Add").click()
    await expect(page.get_by_text("which is not shown again")).to_be_visible()
    secret = await page.locator(".notice code").inner_text()
    await page.get_by_role("button", name="Send a test").click()
    await expect(page.get_by_text("the receiver took it")).to_be_visible()
    assert Webhook(secret).verify(receiver.sent[0].body, receiver.sent[0].headers)["type"] == "test"
    job_id = await world.service.install(world.instance, world.ui_home, world.card("a.md", WRONG))
    await world.service.ended(job_id)
    await until(lambda: receiver.kinds(job_id) == ["job.failed"])
    await page.reload()
    await expect(page.get_by_text("Last: an install, failed")).to_be_visible()
    await expect(page.get_by_text(secret)).to_have_count(0)
    assert await browser.axe(page) == []
    await shoot(page, browser, "receivers")
    await page.get_by_role("button", name="Delete <b>mine</b>").click()
    await page.get_by_role("button", name="Delete the receiver").click()
    await expect(page.get_by_text("Nobody is told as yet.")).to_be_visible()


async def test_apprise_tells_and_keeps_to_the_rules(world: World, receiver: Receiver) -> None:
    pytest.importorskip("apprise")
    async with receiving() as inner:
        await serve(world, receiver)
        status, added = await world.service.post("/receivers", {"url": f"json://{receiver.target}/hook?:k=v"})
        assert (status, added["kind"], added["secret"], added["address"]) == (201, "apprise", None, "json://…")
        tested = f"/receivers/{added['receiver_id']}/test"
        assert (await world.service.post(tested, None))[1]["delivered"]
        job_id = await world.service.install(world.instance, world.ui_home, world.card("a.md", WRONG))
        await world.service.ended(job_id)
        await until(lambda: len(receiver.sent) == 2)
        told = receiver.sent[1].told
        assert told["title"] == f"Install failed: {(await world.service.job(job_id))['instance']}"
        assert "0 of 1 installed" in told["message"]
        # Neither by a redirect nor by an address of its own does it get anywhere else.
        receiver.status, receiver.headers = 307, {"Location": inner.url}
        answer = (await world.service.post(tested, None))[1]
        assert (answer["delivered"], inner.sent) == (False, [])
        for url in (
            f"json://{inner.target}/",
            "json://169.254.169.254/",
            f"mailto://u:p@127.0.0.1:{inner.port}/?smtp=127.0.0.1&from=a@b.example&to=c@d.example",
        ):
            status, refused = await world.service.post("/receivers", {"url": url})
            assert status == 201, refused
            answer = (await world.service.post(f"/receivers/{refused['receiver_id']}/test", None))[1]
            assert not answer["delivered"]
            assert "INSTALLER_OUTBOUND_TARGETS" in answer["message"], (url, answer)
        assert inner.sent == []
        status, answer = await world.service.post("/receivers", {"url": "nonsense://x"})
        assert (status, answer["errors"][0]["field"]) == (400, "url")
