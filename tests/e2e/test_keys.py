"""Keys without a restart: in a real Chromium, a real terminal and over a real sshd, and where they must not be seen."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from playwright.async_api import expect

from service.demo.civitai import StandInModel
from tests.e2e.conftest import World
from tests.e2e.test_library import Linked, shoot
from tests.kit.browser import Browser
from tests.kit.sshd import USER
from tests.terminal.test_terminal import run

KEY = "a-key-of-civitai-0123456789"
WRONG = "a-key-that-nobody-knows-0123"


class Keyless(Linked):
    """Its service is told of no key at all, and finds none in the home folder."""

    async def serve(self, **settings: str) -> None:
        await self.service.terminate()
        self.civitai.account_key = KEY
        await self.service.start(
            INSTALLER_CIVITAI_URL=self.civitai.api_url,
            INSTALLER_HF_URL=f"http://localhost:{self.civitai.api_port}",
            INSTALLER_OUTBOUND_TARGETS=f"127.0.0.1:{self.civitai.api_port}",
            INSTALLER_SSH_KEY="",
            INSTALLER_CONNECT_TIMEOUT="1",
            HOME=str(self.folder),
            **settings,
        )

    async def request(self, method: str, path: str, body: object = None) -> tuple[int, str]:
        address = self.service.url + path
        async with aiohttp.ClientSession() as http, http.request(method, address, json=body) as response:
            return response.status, await response.text()


@pytest.fixture
async def keyless(tmp_path: Path) -> AsyncIterator[Keyless]:
    built = Keyless(tmp_path)
    try:
        await built.start()
        await built.serve()
        yield built
    finally:
        await built.close()


def let_in(world: World, public_key: str) -> None:
    """As a person does at Vast.ai."""
    (world.instance.folder / "authorized_keys").write_text(public_key + "\n")


async def test_add_the_keys_and_retry_in_the_browser(keyless: Keyless, browser: Browser) -> None:
    card = keyless.model(StandInModel(id=21, name="Locked", size_bytes=50_000, requires_key=KEY))
    job_id = await keyless.service.install(keyless.instance, keyless.ui_home, card)
    assert (await keyless.service.ended(job_id))["cause"] == "ssh_auth"

    # 1. No instance lets the service in: it makes a key of its own on the job's page.
    page = await browser.page(f"{keyless.service.url}/#/jobs/{job_id}")
    await expect(page.get_by_role("heading", name="Let the service in")).to_be_visible()
    await page.get_by_role("button", name="Make an SSH key").click()
    public_key = await page.get_by_role("region", name="The service's public key").inner_text()
    assert public_key.startswith("ssh-ed25519 ")
    await shoot(page, browser, "job-ssh-key")
    let_in(keyless, public_key.strip())
    await page.get_by_role("button", name="The instance has it: retry").click()

    # 2. CivitAI wants a key: a wrong one is said to be wrong, the right one starts the job again.
    await expect(page.get_by_role("heading", name="Add the key and retry")).to_be_visible(timeout=60_000)
    field = page.get_by_label("CivitAI API key")
    await field.fill("short")
    await page.get_by_role("button", name="Save it and retry").click()
    await expect(page.locator("#key-civitai-help")).to_have_text(re.compile("16 to 512"))
    browser.expect_refused(400)
    await field.fill(WRONG)
    await page.get_by_role("button", name="Save it and retry").click()
    await expect(page.get_by_text("the site refuses this CivitAI API key")).to_be_visible()
    await shoot(page, browser, "job-missing-key")
    await field.fill(KEY)
    await field.press("Enter")
    await expect(page.locator("h1 .state")).to_have_text("Completed", timeout=60_000)
    assert (keyless.ui_home / "models/loras/Locked").is_dir()

    # 3. The page of keys.
    await page.get_by_role("link", name="Keys").click()
    civitai = page.get_by_role("region", name="CivitAI API key")
    await expect(civitai.get_by_text("Set", exact=True)).to_be_visible()
    await civitai.get_by_role("button", name="Check it").click()
    await expect(civitai.get_by_text("of the account renter")).to_be_visible()
    await shoot(page, browser, "keys")
    assert KEY not in await page.content()
    await civitai.get_by_role("button", name="Remove it").click()
    await page.get_by_role("button", name="Keep it").click()
    await civitai.get_by_role("button", name="Remove it").click()
    await page.get_by_role("button", name="Remove the key").click()
    await expect(civitai.get_by_text("Not set")).to_be_visible()
    ssh = page.get_by_role("region", name="The service's SSH key")
    await ssh.get_by_role("button", name="Remove it").click()
    await page.get_by_role("button", name="Remove the key").click()
    await expect(ssh.get_by_role("button", name="Make an SSH key")).to_be_visible()
    await shoot(page, browser, "keys-none")


async def test_the_same_by_the_terminal(keyless: Keyless) -> None:
    env = {"INSTALLER_URL": keyless.service.url}
    card = keyless.model(StandInModel(id=22, name="Locked", size_bytes=50_000, requires_key=KEY))
    status, out, err = await run("keys", env=env)
    assert (status, [line.split("\t")[1] for line in out.splitlines()]) == (0, ["no", "no", "no", "no"])
    status, out, err = await run("keys", "ssh", env=env)
    assert (status, "cloud.vast.ai" in err) == (0, True)
    assert (await run("keys", "ssh", env=env))[1] == out
    let_in(keyless, out.strip())
    line = f"ssh -p {keyless.instance.port} {USER}@127.0.0.1"
    status, out, err = await run("install", line, card, "--ui-home", str(keyless.ui_home), env=env)
    job_id = out.split()[0]
    assert (status, "resource-installer keys set civitai" in err + out) == (1, True)
    status, out, err = await run("keys", "set", "civitai", env=env)
    assert (status, "16 to 512" in err) == (2, True), "nothing came on standard input"
    status, _, err = await piped(WRONG, "keys", "set", "civitai", env=env)
    assert (status, "refuses" in err) == (1, True)
    status, out, err = await piped(KEY + "\n", "keys", "set", "civitai", env=env)
    assert (status, "accepts" in err, KEY in out + err) == (0, True, False)
    status, out, err = await run("retry", job_id, env=env)
    assert status == 0, err
    status, out, err = await run("keys", "--json", env=env)
    assert (json.loads(out)["keys"][0]["set"], KEY in out) == (True, False)
    assert (await run("keys", "rm", "civitai", env=env))[0] == 2
    assert (await run("keys", "rm", "civitai", "--yes", env=env))[0] == 0
    status, _, err = await run("keys", "check", "civitai", env=env)
    assert (status, "no CivitAI API key is set" in err) == (2, True)


async def piped(text: str, *arguments: str, env: dict[str, str]) -> tuple[int, str, str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("INSTALLER_")}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "service", *arguments),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=clean | env,
    )
    out, err = await process.communicate(text.encode())
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


async def command_lines(seen: list[str]) -> None:
    """Those of all processes of this machine, again and again."""
    while True:
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            with contextlib.suppress(OSError):
                seen.append(path.read_bytes().decode("latin-1"))
        await asyncio.sleep(0.02)


async def test_a_key_is_nowhere_to_be_seen(keyless: Keyless) -> None:
    """Not in events, answers, logs, the database and the lists of processes, whatever a card does with it."""
    private = (await keyless.request("POST", "/keys/ssh"))[1]
    let_in(keyless, json.loads(private)["public_key"])
    assert (await keyless.request("PUT", "/keys/civitai", {"value": KEY}))[0] == 200
    spy = keyless.card(
        "other/spy.md",
        'echo "the key is $CIVITAI_TOKEN"; printf %s "$CIVITAI_API_KEY" | base64; echo "$CIVITAI_TOKEN" >&2\n'
        "sleep 0.2; exit 3",
    )
    locked = keyless.model(StandInModel(id=23, name="Locked", size_bytes=900_000, requires_key=KEY))
    seen: list[str] = []
    watching = asyncio.create_task(command_lines(seen))
    job_id = await keyless.service.install(keyless.instance, keyless.ui_home, locked, spy)
    job = await keyless.service.ended(job_id)
    watching.cancel()
    assert "civitdl" in "".join(seen)
    assert [each["state"] for each in job["resources"]] == ["installed", "failed"]
    # What was removed may still be printed by what it was given to.
    assert (await keyless.request("DELETE", "/keys/civitai"))[0] == 200
    history = await keyless.service.history(job_id)
    said = " ".join(event["line"] for event in history if event["type"] == "output")
    assert "the key is [redacted]" in said
    for path in (f"/resources/jobs/{job_id}/report", f"/resources/jobs/{job_id}", "/keys", "/metrics", "/readyz"):
        seen.append((await keyless.request("GET", path))[1])
    await keyless.service.terminate()
    seen += [json.dumps(history), keyless.service.log]
    seen += [path.read_bytes().decode("latin-1") for path in keyless.folder.glob("installer.sqlite3*")]
    for text in seen:
        assert KEY not in text
        assert "OPENSSH PRIVATE" not in text
    # Nor does a file of an attempt stay with it.
    left = [path for path in keyless.instance.home.rglob("*") if path.is_file() and KEY.encode() in path.read_bytes()]
    assert left == []
