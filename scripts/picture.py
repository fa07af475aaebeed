"""Make docs/install.png, the picture of a running install at the top of the README: ``python -m scripts.picture``.

It runs the demo's stand-ins with larger models and photographs the job's page in Chromium halfway through. It needs
what `make test` needs.
"""

from __future__ import annotations

import asyncio
import logging
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiohttp
from playwright.async_api import ViewportSize, async_playwright

from service.app import Service
from service.config import load_settings
from service.demo.civitai import StandInCivitai, StandInModel
from service.demo.instance import DemoInstance
from service.runner.instance.attempt_program import civitdl_config

PICTURE = Path(__file__).resolve().parents[1] / "docs/install.png"
BYTES_MAX = 120 * 1024
VIEWPORT: ViewportSize = {"width": 1040, "height": 720}
RATE = 14_000_000
AT_PERCENT = 57
WAIT_SECONDS_MAX = 180

# (id, name, type, bytes): names and sizes that look like a real evening's install.
MODELS = (
    (1001, "Dramatic Lighting Slider", "loras", 8_120_000),
    (1002, "Wan 2.1 FusionX", "loras", 317_000_000),
    (1003, "4x-UltraSharp", "upscale_models", 67_000_000),
)
# The one that is photographed, and how far it is by then.
SHOWN = 1
CARD = """---
title: {name}
type: {kind}
size: {size}
---
# Download
```bash
civitdl "https://civitai.com/models/{id}?modelVersionId={version}" "$UI_HOME/models/{kind}"
```
"""


async def main() -> None:
    with tempfile.TemporaryDirectory(prefix="workspace-") as name:
        folder = Path(name)
        civitai = StandInCivitai(folder / "civitai")
        await civitai.start()
        instance = DemoInstance(folder / "instance", civitai.env)
        await instance.start()
        config = instance.home / ".config/civitdl/config.json"
        config.parent.mkdir(parents=True)
        config.write_text(civitdl_config("", retry_count=1, pause_seconds=0.2), encoding="utf-8")
        cards = [_card(folder / "resources", civitai, *model) for model in MODELS]
        service = Service(_settings(folder, instance))
        await service.start()
        try:
            await _photograph(service.url, await _install(service.url, instance, cards))
        finally:
            await service.stop()
            await instance.stop()
            await civitai.stop()
    size = PICTURE.stat().st_size
    if size > BYTES_MAX:
        raise SystemExit(f"{PICTURE} has {size} bytes, more than {BYTES_MAX}")
    print(f"{PICTURE}: {size} bytes")


def _card(folder: Path, civitai: StandInCivitai, model_id: int, name: str, kind: str, size: int) -> str:
    model = StandInModel(id=model_id, name=name, size_bytes=size, images=2, bytes_per_second=RATE)
    civitai.add(model)
    path = f"{kind}/{name.lower().replace(' ', '_').replace('(', '').replace(')', '')}.md"
    (folder / path).parent.mkdir(parents=True, exist_ok=True)
    text = CARD.format(name=name, kind=kind, size=size, id=model_id, version=model.version_id)
    (folder / path).write_text(text, encoding="utf-8")
    return path


def _settings(folder: Path, instance: DemoInstance) -> Any:
    return load_settings(
        host="127.0.0.1",
        port=0,
        database_url=f"sqlite+aiosqlite:///{folder / 'installer.sqlite3'}",
        resources_dir=folder / "resources",
        ssh_key=instance.key_path,
        known_hosts=folder / "known_hosts",
    )


async def _install(url: str, instance: DemoInstance, cards: list[str]) -> str:
    ui_home = instance.home.parents[1] / "ComfyUI"
    ui_home.mkdir()
    body = {"ssh_host": "127.0.0.1", "ssh_port": instance.port, "ui_home": str(ui_home)}
    async with (
        aiohttp.ClientSession() as http,
        http.post(f"{url}/resources/install", json={**body, "resources": cards}) as response,
    ):
        return str((await response.json())["job_id"])


async def _photograph(url: str, job_id: str) -> None:
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        raise SystemExit("no Chromium here: sudo apt-get install chromium")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        context = await browser.new_context(viewport=VIEWPORT, locale="en-GB", color_scheme="light")
        page = await context.new_page()
        await page.goto(f"{url}/#/jobs/{job_id}")
        async with aiohttp.ClientSession(f"{url}/resources/jobs/") as http, asyncio.timeout(WAIT_SECONDS_MAX):
            await _until(http, job_id, lambda job: _has_come_far(job["resources"][SHOWN]))
            await page.screenshot(path=PICTURE)
            # The install would continue without the service.
            await http.post(f"{job_id}/cancel")
            await _until(http, job_id, lambda job: job["state"] == "cancelled")
        await browser.close()


def _has_come_far(resource: dict[str, Any]) -> bool:
    return resource["stage"] == "model" and (resource["percent"] or 0) >= AT_PERCENT


async def _until(http: aiohttp.ClientSession, job_id: str, condition: Callable[[Any], bool]) -> None:
    while True:
        async with http.get(job_id) as response:
            if condition(await response.json()):
                return
        await asyncio.sleep(0.1)


if __name__ == "__main__":
    # The stand-in reports that its download was cut off; that is what a cancel does.
    logging.getLogger("aiohttp.server").setLevel(logging.CRITICAL)
    asyncio.run(main())
