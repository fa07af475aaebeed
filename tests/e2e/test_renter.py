"""What a renter does, from an empty service to models on an instance: in a real Chromium, and by commands alone."""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from playwright.async_api import Page, expect

from service.demo.civitai import StandInModel
from service.demo.huggingface import StandInRepository
from service.demo.vast import StandInVast, instance
from tests.e2e.conftest import World
from tests.e2e.test_keys import piped
from tests.e2e.test_library import Linked, shoot
from tests.kit.browser import Browser, open_browser
from tests.terminal.test_terminal import run

CIVITAI_KEY = "a-key-of-civitai-0123456789"
HF_TOKEN = "hf_a_token_of_the_renter_0123"
VAST_KEY = "a-key-of-vast-0123456789abcdef"
LORA = StandInModel(id=41, name="Soft Light", size_bytes=900_000, requires_key=CIVITAI_KEY)
UPSCALER = StandInModel(id=42, name="", size_bytes=700_000)
GATED = StandInModel(id=43, name="", size_bytes=800_000)
LINKS = (
    "https://civitai.com/models/41/soft-light",
    "https://huggingface.co/o/sharp/blob/main/4x-Sharp.safetensors",
    "https://huggingface.co/o/gated/blob/main/ae.safetensors",
)
ALL_BYTES = sum(model.size_bytes for model in (LORA, UPSCALER, GATED))
AGAIN_SECONDS_MAX = 15
CLICKS_MAX = 5
expect.set_options(timeout=30_000)


class Renter(Linked):
    """Nothing is there yet: no card, no key of any site; the renter's one instance is at Vast.ai."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.vast = StandInVast(VAST_KEY)
        self.civitai.account_key = CIVITAI_KEY
        self.hub.account_token = HF_TOKEN

    async def serve(self, **settings: str) -> None:
        await self.service.terminate()
        await self.vast.start()
        vast_place = self.vast.url.removeprefix("http://")
        self.civitai.add(LORA)
        self.hub.add(
            StandInRepository(name="o/sharp", files={"4x-Sharp.safetensors": UPSCALER}),
            StandInRepository(name="o/gated", files={"ae.safetensors": GATED}, requires_token=HF_TOKEN),
        )
        port = [{"HostIp": "127.0.0.1", "HostPort": str(self.instance.port)}]
        self.vast.add(instance(101, label="my 4090", public_ipaddr="127.0.0.1", ports={"22/tcp": port}))
        await self.service.start(
            INSTALLER_CIVITAI_URL=self.civitai.api_url,
            INSTALLER_HF_URL=f"http://localhost:{self.civitai.api_port}",
            INSTALLER_VAST_URL=self.vast.url,
            INSTALLER_OUTBOUND_TARGETS=f"127.0.0.1:{self.civitai.api_port},{vast_place}",
            HOME=str(self.folder),
            **settings,
        )

    async def close(self) -> None:
        await self.vast.stop()
        await super().close()

    @property
    def model_bytes(self) -> int:
        """How many bytes of models' files the sites have sent."""
        return self.hub.sent_bytes + sum(each.bytes for each in self.civitai.downloads(LORA.id))


@pytest.fixture
async def renter(tmp_path: Path) -> AsyncIterator[Renter]:
    built = Renter(tmp_path)
    try:
        await built.start()
        await built.serve()
        yield built
    finally:
        await built.close()


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    async with open_browser() as opened:
        yield opened
        opened.assert_clean()


async def test_the_renters_story_by_commands_alone(renter: Renter) -> None:
    env = {"INSTALLER_URL": renter.service.url}

    async def done(*arguments: str, status: int = 0) -> list[str]:
        ended, out, err = await run(*arguments, env=env)
        assert ended == status, out + err
        return out.splitlines()

    # 1. The keys, from nothing, by standard input.
    assert [row.split("\t")[1] for row in await done("keys")][:3] == ["no", "no", "no"]
    for name, key in (("civitai", CIVITAI_KEY), ("vast", VAST_KEY)):
        status, _, err = await piped(f"{key}\n", "keys", "set", name, env=env)
        assert status == 0, err

    # 2. Three links become cards; the last one says which token it will want.
    cards = [(await done("add", link, "--yes"))[-1] for link in LINKS[:2]]
    shown = await done("add", LINKS[2], "--yes")
    assert "resource-installer keys set huggingface" in " ".join(shown)
    cards.append(shown[-1])

    # 3. The instance as `vast` prints it goes into `check` and `install`.
    (rented,) = [row.split("\t") for row in await done("vast")]
    line = rented[6]
    home = ("--ui-home", str(renter.ui_home))
    await done("check", line, *home)
    told = await done("install", line, *cards, *home, status=1)
    assert "resource-installer keys set huggingface" in " ".join(told)
    assert f"resource-installer retry {told[0]}" in " ".join(told)

    # 4. The token, and again: what is there is not loaded again.
    status, _, err = await piped(f"{HF_TOKEN}\n", "keys", "set", "huggingface", env=env)
    assert status == 0, err
    await done("retry", told[0])
    assert renter.model_bytes == ALL_BYTES

    # 5. The same install once more.
    begin = time.monotonic()
    await done("install", line, *cards, *home)
    seconds = time.monotonic() - begin
    print(f"terminal: again in {seconds:.1f} s, {renter.model_bytes - ALL_BYTES} bytes")
    assert renter.model_bytes == ALL_BYTES
    assert seconds < AGAIN_SECONDS_MAX
