"""What a workflow needs, over HTTP; hostile ones; and the catalogue."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from service.errors import InvalidRequest
from service.workflows import read_workflow
from tests.kit.running import running, write_card

URL = "https://huggingface.co/o/r/resolve/main/{name}"


class Api:
    def __init__(self, http: aiohttp.ClientSession) -> None:
        self._http = http
        self.url = str(http._base_url).rstrip("/")

    async def __call__(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        async with self._http.request(method, path, json=body) as response:
            return response.status, await response.json()

    async def inspect(self, workflow: Any) -> dict[str, Any]:
        text = workflow if isinstance(workflow, str) else json.dumps(workflow)
        status, answer = await self("POST", "/workflows/inspect", {"workflow": text})
        assert status == 200, answer
        return {each["name"]: each for each in answer["models"]}

    async def begun(self, path: str, length: int) -> bytes:
        """The answer to the beginning of a body of this length."""
        url = self.url.removeprefix("http://")
        reader, writer = await asyncio.open_connection(*url.split(":"))
        head = (
            f"POST {path} HTTP/1.1\r\nHost: {url}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
        )
        writer.write(head.encode() + b'{"workflow": "' + b"x" * 100_000)
        answer = await reader.readline()
        writer.close()
        return answer

    async def refused(self, text: str) -> str:
        status, answer = await self("POST", "/workflows/inspect", {"workflow": text})
        assert (status, answer["errors"][0]["field"]) == (400, "workflow"), answer
        return str(answer["message"])


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    (tmp_path / "catalogue.json").write_text(json.dumps(catalogue()))
    settings = {"catalogue": str(tmp_path / "catalogue.json")}
    async with running(tmp_path, **settings) as service, aiohttp.ClientSession(base_url=service.url) as http:
        yield Api(http)


def catalogue() -> dict[str, Any]:
    entry = {
        "name": "4x-UltraSharp",
        "type": "upscale",
        "base": "upscale",
        "save_path": "default",
        "description": "x",
        "reference": "https://huggingface.co/Kim2091/UltraSharp",
        "filename": "4x-UltraSharp.pth",
        "url": "https://huggingface.co/Kim2091/UltraSharp/resolve/main/4x-UltraSharp.pth",
        "size": "67.0MB",
    }
    changes: list[dict[str, Any]] = [
        {},
        {"name": "node's own", "filename": "n.pt", "save_path": "custom_nodes/x/models"},
        {"name": "Wan VAE", "filename": "wan_vae.safetensors", "save_path": "vae/wan", "type": "VAE"},
        # None of these.
        {"filename": "../x.pth"},
        {"url": "javascript:alert(1)"},
        {"url": None},
        {"filename": 5},
    ]
    return {"models": [entry | each for each in changes] + [None, "x"]}


def node(kind: str, *values: Any, models: Any = None, **more: Any) -> dict[str, Any]:
    properties = {} if models is None else {"models": models}
    return {"id": 1, "type": kind, "widgets_values": list(values), "properties": properties, **more}


def model(name: str, **changes: Any) -> dict[str, Any]:
    return {"name": name, "url": URL.format(name=name), "directory": "loras", **changes}


async def test_every_place_where_a_workflow_names_a_model(api: Api) -> None:
    digest = "a" * 64
    needs = await api.inspect(
        {
            "nodes": [
                node("CheckpointLoaderSimple", "SDXL\\base.safetensors"),
                node(
                    "LoraLoader", "detail.safetensors", 1, 1, models=[model("detail.safetensors", hash=digest.upper())]
                ),
                node("Power Lora Loader (rgthree)", {}, {"on": True, "lora": "power.safetensors", "strength": 1}),
                node("DualCLIPLoader", "clip_l.safetensors", "t5.safetensors", "flux"),
                node("UNETLoader", "switched_off.safetensors", mode=4),
                node("CLIPTextEncode", "a photo of x.safetensors\nby night", "https://x.example/y.safetensors"),
                node("Note", 5, None, [], {"a": {"b": ["deep.gguf"]}}),
                {"type": 5, "widgets_values": "odd.vae.pt", "properties": None},
                "no node",
            ],
            "definitions": {"subgraphs": [{"nodes": [node("VAELoader", "inner_vae.safetensors")]}, None]},
            "models": [model("root.safetensors", directory="diffusion_models"), {"name": 5}, None],
        }
    )
    assert {name: (each["folder"], each["state"]) for name, each in needs.items()} == {
        "root.safetensors": ("diffusion_models", "missing"),
        "SDXL/base.safetensors": ("checkpoints", "unknown"),
        "detail.safetensors": ("loras", "missing"),
        "power.safetensors": ("loras", "unknown"),
        "clip_l.safetensors": ("text_encoders", "unknown"),
        "t5.safetensors": ("text_encoders", "unknown"),
        "deep.gguf": (None, "unknown"),
        "odd.vae.pt": (None, "unknown"),
        "inner_vae.safetensors": ("vae", "unknown"),
    }
    assert (needs["detail.safetensors"]["sha256"], needs["detail.safetensors"]["source"]) == (digest, "workflow")


async def test_the_form_of_the_api(api: Api) -> None:
    prompt = {
        "3": {"class_type": "KSampler", "inputs": {"seed": 5, "model": ["4", 0]}},
        "4": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "base.safetensors"}},
        "5": {"class_type": "Odd", "inputs": {"vae_name": "x.safetensors"}},
    }
    for given in (prompt, {"prompt": prompt}):
        needs = await api.inspect(given)
        assert {name: each["folder"] for name, each in needs.items()} == {
            "base.safetensors": "checkpoints",
            "x.safetensors": "vae",
        }


async def test_what_the_library_has(api: Api, tmp_path: Path) -> None:
    write_card(tmp_path, "loras/a.md", 'curl -o "$UI_HOME/models/loras/Named.safetensors" https://x.example/1')
    write_card(tmp_path, "loras/b.md", "wget https://x.example/loaded.safetensors?download=true")
    write_card(tmp_path, "loras/c.md", "civitdl 5", f"sha256: {'b' * 64}\n")
    write_card(tmp_path, "loras/d.md", "civitdl 6", "files:\n  - path: models/loras/listed.safetensors\n")
    write_card(tmp_path, "loras/e.md", "echo not_this_one.safetensors.txt my_other.safetensors")
    names = ("named", "loaded", "listed", "this_one", "other")
    widgets = [node("LoraLoader", f"{name}.safetensors") for name in names]
    needs = await api.inspect({"nodes": widgets, "models": [model("hashed.safetensors", hash="b" * 64)]})
    assert {name: each["card"] for name, each in needs.items()} == {
        "hashed.safetensors": "loras/c.md",
        "named.safetensors": "loras/a.md",
        "loaded.safetensors": "loras/b.md",
        "listed.safetensors": "loras/d.md",
        "this_one.safetensors": None,
        "other.safetensors": None,
    }


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"directory": "../../etc"}, "no folder"),
        ({"directory": "/etc"}, "no folder"),
        ({"directory": "loras/.."}, "no folder"),
        ({"directory": "a b;rm"}, "no folder"),
        ({"url": "javascript:alert(1)"}, "https://"),
        ({"url": "file:///etc/passwd"}, "https://"),
        ({"url": "https://user:pw@x.example/a.pt"}, "password"),
        ({"url": "https://[x"}, "address"),
        ({"url": "https://x.example/a\u202e.pt"}, "https://"),
        ({"name": "../x.safetensors"}, "name"),
        ({"name": "loras/\x1b[31m.safetensors"}, "name"),
    ],
)
async def test_what_a_workflow_may_not_give(api: Api, changes: dict[str, Any], words: str) -> None:
    (need,) = (await api.inspect({"nodes": [], "models": [model("x.safetensors") | changes]})).values()
    assert (need["state"], need["url"], need["folder"]) == ("refused", None, None)
    assert words in need["reason"]


async def test_another_name_at_the_address_is_said(api: Api) -> None:
    (need,) = (await api.inspect({"models": [model("x.safetensors", url=URL.format(name="y.safetensors"))]})).values()
    assert (need["state"], "the name y.safetensors" in need["reason"]) == ("missing", True)


async def test_hostile_workflows_are_refused_with_a_reason(api: Api) -> None:
    assert "more than 5000 nodes" in await api.refused(json.dumps({"nodes": [{}] * 10_000}))
    assert "more than 500 models" in await api.refused(json.dumps({"models": [model(f"{n}.pt") for n in range(600)]}))
    assert "values" in await api.refused(json.dumps({"nodes": [node("x", *[0] * 300_000)]}))
    assert "nested too deeply" in await api.refused('{"nodes":' + "[" * 400_000)
    assert "nested too deeply" in await api.refused('{"nodes":' + "[" * 5_000 + "]" * 5_000 + "}")
    for text in ("[]", "5", '"x"', "{}", '{"nodes": 5}', '{"a": {"b": 1}}', "not JSON", '{"nodes": [NaN]}', "\x00\x01"):
        assert await api.refused(text)
    status, answer = await api("POST", "/workflows/inspect", {"workflow": "x" * 1_000_001})
    assert (status, answer["errors"][0]["field"]) == (400, "workflow")
    assert b" 413 " in await api.begun("/workflows/inspect", length=100_000_000)
    # Nested values deeper than anybody writes are not looked into.
    deep: Any = "deep.safetensors"
    for _ in range(500):
        deep = [deep]
    assert await api.inspect({"nodes": [node("x", deep), node("LoraLoader", "a.pt")]}) != {}


def test_the_largest_costs_little() -> None:
    text = json.dumps({"nodes": [node("LoraLoader", *[f"x{n % 400}.pt"] * 20) for n in range(4_900)]})[:4_000_000]
    begin = time.process_time()
    assert len(read_workflow(text)) == 400
    assert time.process_time() - begin < 3
    with pytest.raises(InvalidRequest):
        read_workflow('{"nodes": [' * 300_000)


async def test_the_catalogue_is_read_on_request(api: Api, tmp_path: Path) -> None:
    status, page = await api("GET", "/catalogue")
    assert (status, page["count"], page["refreshed_at"]) == (200, 0, None)
    status, page = await api("POST", "/catalogue/refresh")
    assert (status, page["count"]) == (200, 3)
    assert page["refreshed_at"].endswith("Z")
    assert {each["filename"]: each["folder"] for each in page["entries"]} == {
        "4x-UltraSharp.pth": "upscale_models",
        "n.pt": None,
        "wan_vae.safetensors": "vae/wan",
    }
    _, page = await api("GET", "/catalogue?search=wan%20VAE")
    assert [each["filename"] for each in page["entries"]] == ["wan_vae.safetensors"]
    assert len((await api("GET", "/catalogue?limit=1"))[1]["entries"]) == 1
    # A workflow without addresses finds its models there.
    (need,) = (await api.inspect({"nodes": [node("UpscaleModelLoader", "4x-ultrasharp.pth")]})).values()
    assert (need["state"], need["source"], need["folder"]) == ("missing", "catalogue", "upscale_models")
    assert need["url"].endswith("/4x-UltraSharp.pth")
    # One that is broken later leaves what was there.
    for broken in ("not JSON", "[]", '{"models": 5}'):
        (tmp_path / "catalogue.json").write_text(broken)
        status, answer = await api("POST", "/catalogue/refresh")
        assert (status, answer["code"]) == (502, "site_unavailable"), broken
    (tmp_path / "catalogue.json").unlink()
    assert "INSTALLER_CATALOGUE" in (await api("POST", "/catalogue/refresh"))[1]["message"]
    assert (await api("GET", "/catalogue"))[1]["count"] == 3


async def test_the_catalogue_of_an_address_is_fetched_by_the_guarded_fetcher(tmp_path: Path) -> None:
    async def answer(_request: web.Request) -> web.Response:
        return web.json_response(catalogue())

    app = web.Application()
    app.router.add_get("/model-list.json", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    place = f"127.0.0.1:{runner.addresses[0][1]}"
    settings = {"catalogue": f"http://{place}/model-list.json"}
    for more, status in (({}, 400), ({"outbound_targets": (place,)}, 200)):
        async with (
            running(tmp_path, **settings, **more) as service,
            aiohttp.ClientSession(base_url=service.url) as http,
        ):
            assert (await Api(http)("POST", "/catalogue/refresh"))[0] == status
    await runner.cleanup()
