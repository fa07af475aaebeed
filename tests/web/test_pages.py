"""The pages and their assets over HTTP, and the build that makes them."""

from __future__ import annotations

import gzip
import re
from collections.abc import Mapping
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from service.web.pages import FOLDER, POLICY, Pages
from tests.kit.running import running

FIRST_LOAD_BYTES_MAX = 150_000
TOKEN = "a-token-of-32-characters-or-more!"


async def get(url: str, **headers: str) -> tuple[int, Mapping[str, str], bytes]:
    async with aiohttp.ClientSession(auto_decompress=False) as http, http.get(url, headers=headers) as response:
        return response.status, response.headers.copy(), await response.read()


def first_load() -> list[Path]:
    """The files that a browser needs for the first page: the page, the files it names, and what they import at once."""
    found, open_names = [FOLDER / "index.html"], ["index.html"]
    while open_names:
        text = (FOLDER / open_names.pop()).read_text(encoding="utf-8")
        names = re.findall(r'(?:src|href)="\./(assets/[^"]+)"', text) + [
            f"assets/{name}" for name in re.findall(r'(?:from|import)\s*"\./([^"]+\.js)"', text)
        ]
        new = [FOLDER / name for name in names if FOLDER / name not in found]
        found += new
        open_names += [f"assets/{path.name}" for path in new if path.suffix == ".js"]
    return found


def test_the_first_load_is_light() -> None:
    files = first_load()
    assert {path.suffix for path in files} == {".html", ".js", ".css", ".svg"}
    compressed = sum(len(gzip.compress(path.read_bytes(), 9)) for path in files)
    print(f"first load: {compressed / 1000:.1f} kB compressed, {len(files)} files")
    assert compressed < FIRST_LOAD_BYTES_MAX


@pytest.mark.parametrize("page", ["index.html", "docs.html"])
def test_nothing_is_inline_and_nothing_is_elsewhere(page: str) -> None:
    text = (FOLDER / page).read_text(encoding="utf-8")
    assert re.findall(r"<script(?![^>]* src=)", text) == []
    assert re.findall(r"<style|\sstyle=|\son\w+=|javascript:|https?://|//[a-z]", text) == []


async def test_pages_and_assets_have_their_headers(tmp_path: Path) -> None:
    async with running(tmp_path, api_token=TOKEN) as service:
        for address, name in (("/", "index.html"), ("/docs", "docs.html")):
            status, headers, body = await get(service.url + address)
            assert (status, body) == (200, (FOLDER / name).read_bytes())
            assert headers["Content-Type"].startswith("text/html")
            assert headers["Content-Security-Policy"] == POLICY
            assert "unsafe" not in POLICY
            assert (headers["X-Content-Type-Options"], headers["Cache-Control"]) == ("nosniff", "no-cache")
            assert (await get(service.url + address, **{"If-None-Match": headers["ETag"]}))[0] == 304
        types = {".js": "javascript", ".css": "text/css", ".svg": "image/svg+xml"}
        for path in first_load()[1:]:
            status, headers, body = await get(f"{service.url}/assets/{path.name}", **{"Accept-Encoding": "gzip"})
            assert status == 200
            assert types[path.suffix] in headers["Content-Type"]
            assert "immutable" in headers["Cache-Control"]
            plain = gzip.decompress(body) if headers.get("Content-Encoding") == "gzip" else body
            assert plain == path.read_bytes()
            assert len(body) < 1_024 or headers["Content-Encoding"] == "gzip"


@pytest.mark.parametrize(
    "path",
    [
        "/assets/none.js",
        "/assets/..%2Findex.html",
        "/assets/%2e%2e/app.py",
        "/assets/",
        "/index.html",
        "/docs/",
        "/none",
    ],
)
async def test_an_unknown_page_is_refused_in_the_contracts_shape(tmp_path: Path, path: str) -> None:
    async with running(tmp_path) as service:
        status, headers, body = await get(service.url + path)
        assert status == 404
        assert headers["Content-Type"].startswith("application/json")
        assert b'"success": false' in body


async def test_the_pages_need_no_token_but_their_data_does(tmp_path: Path) -> None:
    async with running(tmp_path, api_token=TOKEN) as service:
        for path in ("/resources", "/openapi.json", "/metrics", "/assetsx"):
            assert (await get(service.url + path))[0] == 401, path


async def test_without_a_build_the_page_says_how_to_make_one(
    tmp_path: Path, aiohttp_client: pytest.FixtureRequest
) -> None:
    app = web.Application()
    Pages(tmp_path / "none").add_to(app)
    client = await aiohttp_client(app)  # type: ignore[operator]
    for address in ("/", "/docs"):
        response = await client.get(address)
        assert response.status == 200
        assert "make dashboard" in await response.text()
    assert (await client.get("/assets/index.js")).status == 404
