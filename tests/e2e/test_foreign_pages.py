"""Pages that are not the service's own, in a real Chromium: one at another port of this machine (a port that somebody
forwarded from a rented instance looks like this), one at a foreign name. They can read, send and join nothing."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from playwright.async_api import expect

from service.app import Service
from tests.kit.browser import open_browser
from tests.kit.running import running, write_card

TOKEN = "a-token-of-32-characters-or-more!"
FOREIGN = "page.example"
# Each attack ends with what it got: text that it could read, "joined", or nothing.
ATTACKS = """
async ({ url, token, job }) => {
  const post = { method: "POST", body: JSON.stringify(job) };
  const json = { "Content-Type": "application/json" };
  const given = token ? { Authorization: `Bearer ${token}` } : {};
  const read = (path, options) => fetch(url + path, options).then((r) => r.text());
  const element = (tag, key, path) => new Promise((done) => {
    const e = document.createElement(tag);
    e.onload = () => done("loaded");
    e.onerror = () => done(null);
    e[key] = url + path;
    document.body.append(e);
  });
  const socket = () => new Promise((done) => {
    const s = new WebSocket(url.replace("http", "ws") + "/socket.io/?EIO=4&transport=websocket");
    s.onmessage = () => done("joined");
    s.onclose = () => done(null);
  });
  const stream = () => new Promise((done) => {
    const s = new EventSource(`${url}/resources/jobs/${job.known}/events`);
    s.onmessage = (event) => done(event.data);
    s.onerror = () => { s.close(); done(null); };
  });
  const form = () => new Promise((done) => {
    const frame = document.createElement("iframe");
    frame.name = "target";
    const f = document.createElement("form");
    Object.assign(f, { method: "POST", action: `${url}/resources/install`, target: "target", enctype: "text/plain" });
    const field = document.createElement("input");
    field.name = JSON.stringify(job).slice(0, -1) + ',"x":"';
    field.value = '"}';
    f.append(field);
    document.body.append(frame, f);
    f.submit();
    setTimeout(() => done(null), 500);
  });
  const attacks = {
    list: () => read("/resources/jobs", { headers: given }),
    simple: () => read("/resources/jobs"),
    health: () => read("/readyz"),
    cards: () => read("/resources", { headers: given }),
    install: () => read("/resources/install", { ...post, headers: { ...json, ...given } }),
    blind: () => fetch(`${url}/resources/install`, { ...post, mode: "no-cors" }).then(() => null),
    cancel: () => read(`/resources/jobs/${job.known}/cancel`, { method: "POST", headers: { ...json, ...given } }),
    beacon: async () => (navigator.sendBeacon(`${url}/resources/install`, JSON.stringify(job)), null),
    polling: () => read("/socket.io/?EIO=4&transport=polling"),
    script: () => element("script", "src", "/resources/jobs"),
    picture: () => element("img", "src", "/resources/jobs"),
    socket, stream, form,
  };
  const got = {};
  for (const [name, attack] of Object.entries(attacks)) got[name] = await attack().catch(() => null);
  return got;
}
"""


@asynccontextmanager
async def site() -> AsyncIterator[int]:
    """A server of other people's pages; its port."""

    async def page(_request: web.Request) -> web.Response:
        return web.Response(text="<!doctype html><title>x</title><body>hello</body>", content_type="text/html")

    app = web.Application()
    app.router.add_get("/", page)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


async def jobs(service: Service, headers: dict[str, str]) -> list[dict[str, Any]]:
    async with (
        aiohttp.ClientSession(headers=headers) as http,
        http.get(f"{service.url}/resources/jobs") as response,
    ):
        return list((await response.json())["jobs"])


@pytest.mark.parametrize("name", ["localhost", "127.0.0.1", FOREIGN])
@pytest.mark.parametrize("token", [None, TOKEN], ids=["open", "token"])
async def test_a_foreign_page_reads_sends_and_joins_nothing(tmp_path: Path, name: str, token: str | None) -> None:
    write_card(tmp_path, "a.md")
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    order = {"ssh_host": "127.0.0.1", "ssh_port": 9, "ui_home": "/ui", "resources": ["a.md"]}
    async with (
        running(tmp_path, api_token=token, private_targets=True) as service,
        site() as port,
        open_browser(f"--host-resolver-rules=MAP {FOREIGN} 127.0.0.1") as browser,
        aiohttp.ClientSession(headers=headers) as http,
    ):
        async with http.post(f"{service.url}/resources/install", json=order) as response:
            known = (await response.json())["job_id"]
        page = await browser.page(f"http://{name}:{port}/")
        # The page knows everything that could help it, the token included.
        told = {"url": service.url, "token": token, "job": {**order, "known": known}}
        got = await page.evaluate(ATTACKS, told)
        print(json.dumps(got))
        assert {attack: result for attack, result in got.items() if result is not None} == {}
        assert [job["job_id"] for job in await jobs(service, headers)] == [known]
        assert (await jobs(service, headers))[0]["state"] == "running"
        # A link to the dashboard works from anywhere.
        await page.evaluate("(url) => { location.href = url; }", service.url + "/")
        await expect(page).to_have_url(service.url + "/")
        await expect(page.locator("main, dialog").first).to_be_visible()


async def test_a_listed_page_reads_sends_and_joins(tmp_path: Path) -> None:
    """The same attacks succeed where they are let in: they are real ones."""
    write_card(tmp_path, "a.md")
    order = {"ssh_host": "127.0.0.1", "ssh_port": 9, "ui_home": "/ui", "resources": ["a.md"]}
    async with (
        site() as port,
        running(tmp_path, cors_origins=(f"http://localhost:{port}",)) as service,
        open_browser() as browser,
        aiohttp.ClientSession() as http,
    ):
        async with http.post(f"{service.url}/resources/install", json=order) as response:
            known = (await response.json())["job_id"]
        page = await browser.page(f"http://localhost:{port}/")
        got = await page.evaluate(ATTACKS, {"url": service.url, "token": None, "job": {**order, "known": known}})
        assert {"list", "health", "cards", "install", "cancel", "polling", "socket", "stream"} <= {
            attack for attack, result in got.items() if result is not None
        }
