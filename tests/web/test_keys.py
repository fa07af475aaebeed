"""Keys over HTTP: set, checked and removed without a restart, and nowhere to be read again."""

from __future__ import annotations

import asyncio
import json
import os
import re
import sqlite3
import stat
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from service.demo.civitai import StandInCivitai, StandInModel
from service.demo.huggingface import StandInHuggingFace, StandInRepository
from service.sealing import Sealing
from service.store.database import database_of
from service.store.stored_keys import StoredKey, StoredKeys
from tests.kit.running import running

VALUE = "a-key-of-civitai-0123456789"
OTHER = "a-token-of-the-hub-0123456789"


@pytest.fixture
async def sites(tmp_path: Path) -> AsyncIterator[tuple[StandInCivitai, StandInHuggingFace, dict[str, Any]]]:
    hub = StandInHuggingFace()
    civitai = StandInCivitai(tmp_path / "sites", hub)
    await civitai.start()
    civitai.account_key, hub.account_token = VALUE, OTHER
    settings = {
        "civitai_url": civitai.api_url,
        # Another origin: each key goes to its own.
        "hf_url": f"http://localhost:{civitai.api_port}",
        "vast_url": f"http://127.0.0.1:{civitai.api_port}/",
        "outbound_targets": (f"127.0.0.1:{civitai.api_port}",),
    }
    yield civitai, hub, settings
    await civitai.stop()


class Api:
    def __init__(self, http: aiohttp.ClientSession) -> None:
        self._http = http
        self.seen = ""

    async def __call__(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        async with self._http.request(method, path, json=body) as response:
            text = await response.text()
            self.seen += text + str(dict(response.headers))
            return response.status, json.loads(text)

    async def key(self, name: str) -> Any:
        _, found = await self("GET", "/keys")
        return next(each for each in found["keys"] if each["name"] == name)


@pytest.fixture
async def api(tmp_path: Path, sites: Any) -> AsyncIterator[Api]:
    async with running(tmp_path, **sites[2]) as service, aiohttp.ClientSession(base_url=service.url) as http:
        yield Api(http)


async def test_a_key_is_set_checked_and_removed(api: Api, sites: Any, tmp_path: Path) -> None:
    assert (await api.key("civitai"))["set"] is False
    assert not (tmp_path / "key_file").exists(), "made only when it is needed"
    status, answer = await api("POST", "/keys/civitai/check")
    assert (status, answer["code"]) == (404, "not_found")
    status, answer = await api("PUT", "/keys/civitai", {"value": VALUE})
    assert (status, answer["source"], answer["message"]) == (
        200,
        "stored",
        "stored: it counts for what begins from now on",
    )
    assert answer["set_at"].endswith("Z")
    status, answer = await api("POST", "/keys/civitai/check")
    assert (status, answer["verdict"]) == (200, "accepted")
    assert "account renter" in answer["message"]
    await api("PUT", "/keys/huggingface", {"value": OTHER})
    assert (await api("POST", "/keys/huggingface/check"))[1]["verdict"] == "accepted"
    # Another value replaces it at once.
    await api("PUT", "/keys/civitai", {"value": "not-the-key-of-anybody"})
    answer = (await api("POST", "/keys/civitai/check"))[1]
    assert (answer["verdict"], "https://civitai.com/user/account" in answer["message"]) == ("refused", True)
    status, answer = await api("DELETE", "/keys/civitai")
    assert (status, answer["name"]) == (200, "civitai")
    assert (await api("DELETE", "/keys/civitai"))[0] == 404
    assert (await api.key("civitai"))["set"] is False
    assert VALUE not in api.seen
    assert OTHER not in api.seen


async def test_a_site_that_does_not_say_is_unknown(tmp_path: Path) -> None:
    hole = {"civitai_url": "http://127.0.0.1:9", "outbound_targets": ("127.0.0.1",), "civitai_api_key": VALUE}
    async with running(tmp_path, **hole) as service, aiohttp.ClientSession(base_url=service.url) as http:
        answer = (await Api(http)("POST", "/keys/civitai/check"))[1]
        assert (answer["verdict"], "does not answer" in answer["message"]) == ("unknown", True)


async def test_a_key_goes_to_no_private_address(tmp_path: Path, sites: Any) -> None:
    settings = sites[2] | {"outbound_targets": ()}
    async with running(tmp_path, **settings) as service, aiohttp.ClientSession(base_url=service.url) as http:
        api = Api(http)
        await api("PUT", "/keys/civitai", {"value": VALUE})
        answer = (await api("POST", "/keys/civitai/check"))[1]
        assert (answer["verdict"], "INSTALLER_OUTBOUND_TARGETS" in answer["message"]) == ("unknown", True)
    assert sites[0].requests == []


@pytest.mark.parametrize(
    "body",
    [
        {"value": "short"},
        {"value": f"{VALUE} {VALUE}"},
        {"value": VALUE + "\n"},
        {"value": "x" * 513},
        {"value": 5},
        {},
    ],
)
async def test_what_is_no_key_is_refused_without_repeating_it(api: Api, body: Any) -> None:
    status, answer = await api("PUT", "/keys/civitai", body)
    assert (status, answer["errors"][0]["field"]) == (400, "value")
    assert str(body.get("value", "nothing")) not in json.dumps(answer)


async def test_names_that_are_no_keys(api: Api) -> None:
    for method, path, body in (
        ("PUT", "/keys/other", {"value": VALUE}),
        ("DELETE", "/keys/other", None),
        ("POST", "/keys/ssh/check", None),
    ):
        assert (await api(method, path, body))[0] == 404, path
    assert (await api("PUT", "/keys/ssh", {"value": VALUE}))[0] == 405


async def test_the_environment_goes_before(tmp_path: Path, sites: Any) -> None:
    settings = sites[2] | {"civitai_api_key": VALUE}
    async with running(tmp_path, **settings) as service, aiohttp.ClientSession(base_url=service.url) as http:
        api = Api(http)
        assert (await api.key("civitai"))["source"] == "environment"
        status, answer = await api("PUT", "/keys/civitai", {"value": "not-the-key-of-anybody"})
        assert (status, answer["source"], answer["stored"]) == (200, "environment", True)
        assert "INSTALLER_CIVITAI_API_KEY goes before it" in answer["message"]
        assert (await api("POST", "/keys/civitai/check"))[1]["verdict"] == "accepted"
        assert "still counts" in (await api("DELETE", "/keys/civitai"))[1]["message"]


async def test_a_preview_uses_the_key_at_once(api: Api, sites: Any) -> None:
    civitai, hub, _ = sites
    civitai.add(StandInModel(id=3, name="Locked", requires_key=VALUE))
    model = StandInModel(id=9, name="Gated", size_bytes=5_000)
    hub.add(StandInRepository(name="o/r", files={"a.safetensors": model}, requires_token=OTHER))
    links = ("civitai:3", "https://huggingface.co/o/r/blob/main/a.safetensors")
    settings = []
    for link in links:
        missing = (await api("POST", "/resources/preview", {"url": link}))[1]["missing"]
        settings.append(missing[0]["setting"])
    assert settings == ["INSTALLER_CIVITAI_API_KEY", "INSTALLER_HF_TOKEN"]
    await api("PUT", "/keys/civitai", {"value": VALUE})
    await api("PUT", "/keys/huggingface", {"value": OTHER})
    for link in links:
        assert (await api("POST", "/resources/preview", {"url": link}))[1]["missing"] == []


async def test_it_is_kept_encrypted_and_counts_after_a_restart(tmp_path: Path, sites: Any) -> None:
    settings = sites[2]
    async with running(tmp_path, **settings) as service, aiohttp.ClientSession(base_url=service.url) as http:
        api = Api(http)
        await api("PUT", "/keys/civitai", {"value": VALUE})
        public = (await api("POST", "/keys/ssh"))[1]["public_key"]
        # The WAL too.
        raw = b"".join(path.read_bytes() for path in tmp_path.glob("installer.sqlite3*"))
    raw += b"".join(path.read_bytes() for path in tmp_path.glob("installer.sqlite3*"))
    for text in (VALUE.encode(), VALUE.encode().hex().encode(), b"OPENSSH PRIVATE", public.split()[1].encode()):
        assert text not in raw
    assert stat.S_IMODE((tmp_path / "key_file").stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.glob("*key_file*")] == ["key_file"]
    async with running(tmp_path, **settings) as service, aiohttp.ClientSession(base_url=service.url) as http:
        api = Api(http)
        assert (await api("POST", "/keys/civitai/check"))[1]["verdict"] == "accepted"
        assert (await api("GET", "/keys"))[1]["ssh"]["public_key"] == public


async def test_a_stolen_database_shows_no_key(tmp_path: Path, sites: Any) -> None:
    settings = sites[2]
    async with running(tmp_path, **settings) as service, aiohttp.ClientSession(base_url=service.url) as http:
        await Api(http)("PUT", "/keys/civitai", {"value": VALUE})
        await Api(http)("PUT", "/keys/vast", {"value": OTHER})
    key_file = tmp_path / "key_file"
    right = key_file.read_bytes()
    for wrong, words in (
        (None, "is missing"),
        (b"nonsense", "is damaged"),
        # Another service's.
        (b"QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVphYmNkZWY=", "cannot be read with the key file"),
    ):
        key_file.unlink(missing_ok=True)
        if wrong is not None:
            key_file.write_bytes(wrong)
            key_file.chmod(0o600)
        async with running(tmp_path, **settings) as service, aiohttp.ClientSession(base_url=service.url) as http:
            api = Api(http)
            found = await api.key("civitai")
            assert (found["set"], words in found["problem"]) == (False, True), found
            status, answer = await api("POST", "/keys/civitai/check")
            assert (status, words in answer["message"]) == (404, True)
    key_file.write_bytes(right)
    key_file.chmod(0o644)
    async with running(tmp_path, **settings) as service, aiohttp.ClientSession(base_url=service.url) as http:
        api = Api(http)
        assert "chmod 600" in (await api.key("civitai"))["problem"]
        assert (await api("PUT", "/keys/civitai", {"value": VALUE}))[0] == 503
        # It is seen at once that this is mended.
        key_file.chmod(0o600)
        assert (await api.key("civitai"))["set"] is True
    # A row under another name is not that key.
    file = sqlite3.connect(tmp_path / "installer.sqlite3")
    file.execute("update keys set sealed = (select sealed from keys where name = 'vast') where name = 'civitai'")
    file.commit()
    file.close()
    async with running(tmp_path, **settings) as service, aiohttp.ClientSession(base_url=service.url) as http:
        assert (await Api(http).key("civitai"))["problem"] is not None


async def test_the_key_of_the_service_is_a_key_of_openssh(api: Api, tmp_path: Path) -> None:
    status, answer = await api("POST", "/keys/ssh")
    assert (status, answer["public_key"].startswith("ssh-ed25519 ")) == (201, True)
    (tmp_path / "k.pub").write_text(answer["public_key"] + "\n")
    said = subprocess.run(["ssh-keygen", "-l", "-f", tmp_path / "k.pub"], capture_output=True, text=True, check=True)
    assert answer["fingerprint"] in said.stdout
    assert any("cloud.vast.ai" in line for line in answer["where"])
    status, again = await api("POST", "/keys/ssh")
    assert (status, again["code"]) == (409, "exists")
    assert (await api("DELETE", "/keys/ssh"))[0] == 200
    assert (await api("POST", "/keys/ssh"))[1]["public_key"] != answer["public_key"]
    assert "PRIVATE" not in api.seen


async def test_rows_are_of_every_engine(database_url: str, tmp_path: Path) -> None:
    database = database_of(database_url)
    await database.open()
    try:
        rows = StoredKeys(database)
        sealing = Sealing(tmp_path / "shared")

        sealed = [sealing.seal("vast", value) for value in (VALUE, VALUE)]
        assert sealed[0] != sealed[1]
        for each in sealed:
            await rows.put(StoredKey(name="vast", sealed=each, set_at_ms=5))
        (found,) = await rows.all()
        assert sealing.open("vast", found.sealed) == VALUE
        assert (await rows.remove("vast"), await rows.remove("vast")) == (True, False)
    finally:
        await database.close()


async def test_two_services_that_make_the_key_file_at_once_share_one(tmp_path: Path) -> None:
    path = tmp_path / "new" / "key_file"
    sealings = [Sealing(path) for _ in range(8)]
    sealed = await asyncio.gather(*(asyncio.to_thread(each.seal, "vast", VALUE) for each in sealings))
    assert {Sealing(path).open("vast", each) for each in sealed} == {VALUE}
    assert os.listdir(path.parent) == ["key_file"]
    assert re.fullmatch(rb"[A-Za-z0-9+/]{43}=\n", path.read_bytes())
