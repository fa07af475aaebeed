"""Links and cards over HTTP: previews, cards that are added, changed and deleted, and what must not happen."""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from service.app import Service
from service.demo.civitai import StandInCivitai, StandInModel, picture, sha256
from service.demo.huggingface import StandInHuggingFace, StandInRepository
from service.library import CARD_BYTES_MAX
from tests.kit.running import card_text, running, write_card

TEXT = card_text("a", "echo a")
Answer = tuple[int, Any, Any]


@asynccontextmanager
async def serving(folder: Path, **settings: Any) -> AsyncIterator[Api]:
    async with running(folder, **settings) as service, aiohttp.ClientSession(base_url=service.url) as http:
        yield Api(service, http, folder / "resources")


class Api:
    def __init__(self, service: Service, http: aiohttp.ClientSession, cards: Path) -> None:
        self.service = service
        self._http = http
        self.cards = cards

    async def __call__(self, method: str, path: str, body: Any = None, **headers: str) -> Answer:
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        async with self._http.request(method, path, json=body, headers=given) as response:
            is_json = response.content_type == "application/json"
            answer = await response.json() if is_json else (await response.read()).decode(errors="replace")
            return response.status, answer, response.headers

    async def preview(self, url: str, **more: Any) -> Any:
        status, answer, _ = await self("POST", "/resources/preview", {"url": url, **more})
        assert status == 200, answer
        return answer

    async def refused(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, str, list[str]]:
        status, answer, _ = await self(method, path, body, **headers)
        assert answer["success"] is False
        assert answer["message"]
        return status, answer["code"], [error["field"] for error in answer["errors"]]

    def files(self) -> list[str]:
        return sorted(str(path.relative_to(self.cards)) for path in self.cards.rglob("*") if path.is_file())


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    async with serving(tmp_path) as served:
        yield served


@pytest.fixture
async def sites(tmp_path: Path) -> AsyncIterator[tuple[StandInCivitai, StandInHuggingFace, dict[str, Any]]]:
    hub = StandInHuggingFace()
    civitai = StandInCivitai(tmp_path / "sites", hub)
    await civitai.start()
    civitai.image_origin = civitai.api_url
    targets = (f"127.0.0.1:{civitai.api_port}",)
    yield civitai, hub, {"civitai_url": civitai.api_url, "hf_url": civitai.api_url, "outbound_targets": targets}
    await civitai.stop()


# --- from a link to a card --------------------------------------------------------------------------------------------


async def test_a_link_is_looked_at_and_becomes_a_card(
    tmp_path: Path, sites: tuple[StandInCivitai, StandInHuggingFace, dict[str, Any]]
) -> None:
    civitai, hub, settings = sites
    model = StandInModel(
        id=12, name="Dramatic Light", size_bytes=4_000, trained_words=["dramatic"], requires_key="k" * 9
    )
    civitai.add(model)
    vae = StandInModel(id=7, name="", size_bytes=5_000)
    hub.add(StandInRepository(name="o/r", files={"a.safetensors": vae, "b.safetensors": vae}))
    link = "https://civitai.com/models/12"
    async with serving(tmp_path, **settings) as api:
        shown = await api.preview(link, picture=True)
        assert (shown["path"], shown["type"], shown["folder"]) == ("loras/dramatic_light_v1_0.md", "lora", "loras")
        assert shown["file"] == {"name": "model_12.safetensors", "size": 4_000, "sha256": sha256(model)}
        assert shown["missing"][0]["setting"] == "INSTALLER_CIVITAI_API_KEY"
        assert shown["trigger_words"] == ["dramatic"]
        assert shown["picture"].startswith("data:image/png;base64,")
        assert (await api.preview(link))["picture"] is None
        assert shown["commands"] in shown["card"]
        # A look writes nothing.
        assert api.files() == []

        status, saved, headers = await api("POST", "/resources", {"url": link})
        assert (status, saved["message"], headers["Location"]) == (201, "saved", f"/resources/{shown['path']}")
        assert (api.cards / shown["path"]).read_text() == shown["card"]
        assert saved["download"] == shown["commands"]
        assert headers["ETag"] == f'"{saved["sha256"]}"'
        status, image, _ = await api("GET", f"/resources/{shown['path']}/picture")
        assert (status, image["picture"]) == (200, shown["picture"] or picture())

        again = await api.preview(link, folder="loras/mine")
        assert (again["path"], again["folder"]) == ("loras/mine/dramatic_light_v1_0.md", "loras/mine")
        assert again["duplicates"] == [{"path": shown["path"], "title": "Dramatic Light", "why": "sha256"}]
        status, saved, _ = await api("POST", "/resources", {"url": link, "path": "mine.md"})
        assert (status, saved["message"]) == (201, f"saved; the same file is on {shown['path']}")
        assert await api.refused("POST", "/resources", {"url": link, "path": "mine.md"}) == (409, "exists", ["path"])

        repository = "https://huggingface.co/o/r"
        choices = await api.preview(repository)
        assert (choices["card"], [each["file"] for each in choices["choices"]]) == (
            None,
            ["a.safetensors", "b.safetensors"],
        )
        assert await api.refused("POST", "/resources", {"url": repository}) == (400, "no_model_file", ["file"])
        status, saved, _ = await api("POST", "/resources", {"url": repository, "file": "b.safetensors"})
        assert (status, saved["files"][0]["path"]) == (201, "models/checkpoints/b.safetensors")


async def test_causes_have_their_codes(
    tmp_path: Path, sites: tuple[StandInCivitai, StandInHuggingFace, dict[str, Any]]
) -> None:
    civitai, hub, settings = sites
    civitai.add(StandInModel(id=5, name="poses", kind="Poses"), StandInModel(id=4, name="x", api_status=503))
    hub.add(StandInRepository(name="o/secret", private=True, requires_token="t" * 9))
    async with serving(tmp_path, **settings) as api:
        for url, expected in (
            ("no link", (400, "invalid")),
            ("http://169.254.169.254/latest/x.pth", (400, "invalid")),
            ("http://127.0.0.1:1/x.pth", (400, "invalid")),
            ("civitai:99", (404, "not_found")),
            ("civitai:5", (400, "no_model_file")),
            ("https://huggingface.co/o/secret", (400, "key_needed")),
            ("civitai:4", (502, "site_unavailable")),
        ):
            for path in ("/resources/preview", "/resources"):
                assert await api.refused("POST", path, {"url": url}) == (*expected, ["url"]), url
        wrong = {"url": "civitai:1", "folder": "../x"}
        assert await api.refused("POST", "/resources/preview", wrong) == (400, "invalid", ["folder"])


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        ({}, ["url"]),
        ({"url": "civitai:1", "card": TEXT}, ["url"]),
        ({"card": TEXT}, ["path"]),
        ({"card": TEXT, "path": "a.md", "folder": "loras"}, ["folder"]),
        ({"card": TEXT, "path": "a.md", "file": "x"}, ["file"]),
        ({"card": "no commands", "path": "a.md"}, ["card"]),
        ({"card": "---\nsha256: x\n---\n# Download\n```\ntrue\n```\n", "path": "a.md"}, ["card"]),
        ({"card": "\ud800", "path": "a.md"}, ["card"]),
        ({"card": "é" * (CARD_BYTES_MAX // 2 + 1), "path": "a.md"}, ["card"]),
        ({"card": "x" * (CARD_BYTES_MAX + 1), "path": "a.md"}, ["card"]),
        ({"card": TEXT, "path": "a.txt"}, ["path"]),
        ({"card": TEXT, "path": "../a.md"}, ["path"]),
        ({"card": TEXT, "path": "/a.md"}, ["path"]),
        ({"card": TEXT, "path": "x/../../a.md"}, ["path"]),
        ({"card": TEXT, "path": ".hidden/a.md"}, ["path"]),
        ({"card": TEXT, "path": "README.md"}, ["path"]),
        ({"card": TEXT, "path": "a\0.md"}, ["path"]),
        ({"card": TEXT, "path": "\ud800.md"}, ["path"]),
        ({"card": TEXT, "path": "jobs/a.md"}, ["path"]),
        ({"card": TEXT, "path": f"{'é' * 200}.md"}, ["path"]),
        ({"card": TEXT, "path": "there.md/a.md"}, ["path"]),
        ({"card": TEXT, "path": "a.md", "more": 1}, ["more"]),
    ],
)
async def test_a_wrong_card_names_its_field(api: Api, body: dict[str, Any], fields: list[str]) -> None:
    write_card(api.cards.parent, "there.md")
    assert await api.refused("POST", "/resources", body) == (400, "invalid", fields)
    assert api.files() == ["there.md"]


# --- editing -----------------------------------------------------------------------------------------------------


async def test_two_editors_do_not_overwrite_each_other(api: Api) -> None:
    _, made, headers = await api("POST", "/resources", {"card": TEXT, "path": "x/a.md"})
    etag = headers["ETag"]
    status, text, headers = await api("GET", "/resources/x/a.md", Accept="text/markdown")
    assert (status, text, headers["ETag"]) == (200, TEXT, etag)
    assert (await api("GET", "/resources/x/a.md"))[2]["ETag"] == etag
    status, changed, headers = await api("PUT", "/resources/x/a.md", {"card": TEXT + "\nmore"}, If_Match=etag)
    assert (status, changed["sha256"] != made["sha256"]) == (200, True)
    assert headers["ETag"] == f'"{changed["sha256"]}"'
    # The other one saw the version before.
    for method, body in (("PUT", {"card": TEXT}), ("DELETE", None)):
        assert (await api.refused(method, "/resources/x/a.md", body, If_Match=etag))[:2] == (412, "changed")
        assert (await api.refused(method, "/resources/x/a.md", body))[:2] == (428, "version_required")
        assert (await api.refused(method, "/resources/x/a.md", body, If_Match="x"))[:2] == (400, "invalid")
        assert (await api.refused(method, "/resources/x/b.md", body, If_Match="*"))[:2] == (404, "not_found")
    assert (api.cards / "x/a.md").read_text() == TEXT + "\nmore"
    # A proxy that packs answers weakens the tag.
    weak = f"W/{headers['ETag']}"
    assert (await api("DELETE", "/resources/x/a.md", If_Match=weak))[0] == 200
    assert api.files() == []


async def test_one_of_many_writers_wins(api: Api) -> None:
    """Each time: the others are told, and what lies there is what one of them wrote, whole."""
    texts = [card_text(str(number), f"echo {number}" * 1_000) for number in range(8)]
    made = await asyncio.gather(*(api("POST", "/resources", {"card": text, "path": "a.md"}) for text in texts))
    assert sorted(status for status, _, _ in made) == [201] + [409] * 7
    etag = next(headers["ETag"] for status, _, headers in made if status == 201)
    changed = await asyncio.gather(
        *(api("PUT", "/resources/a.md", {"card": text + "\n"}, If_Match=etag) for text in texts)
    )
    assert sorted(status for status, _, _ in changed) == [200] + [412] * 7
    assert (api.cards / "a.md").read_text() in [text + "\n" for text in texts]
    # Nothing is left beside it.
    assert [path.name for path in api.cards.iterdir()] == ["a.md"]


async def test_a_broken_card_can_be_mended_and_deleted(api: Api) -> None:
    (api.cards / "broken.md").write_bytes(b"no commands \xff")
    assert (await api("GET", "/resources/broken.md"))[0] == 400
    _, _, headers = await api("GET", "/resources/broken.md", Accept="text/markdown")
    assert (await api("PUT", "/resources/broken.md", {"card": TEXT}, If_Match=headers["ETag"]))[0] == 200
    assert await api.refused("PUT", "/resources/broken.md", {"card": "x"}, If_Match="*") == (400, "invalid", ["card"])
    assert (await api("DELETE", "/resources/broken.md", If_Match="*"))[0] == 200


async def test_nothing_is_written_outside_of_the_folder(api: Api, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "a.md").write_text(TEXT)
    (api.cards / "away").symlink_to(outside)
    (api.cards / "link.md").symlink_to(outside / "a.md")
    (api.cards / "circle.md").symlink_to(api.cards / "circle.md")
    os.mkfifo(api.cards / "pipe.md")
    for path in ("away/new.md", "away/deeper/new.md", "link.md", "pipe.md"):
        status, _, fields = await api.refused("POST", "/resources", {"card": TEXT, "path": path})
        assert (status in (400, 409), fields) == (True, ["path"]), path
    for path in ("away/a.md", "link.md", "pipe.md", "circle.md"):
        changed = await api.refused("PUT", f"/resources/{path}", {"card": TEXT}, If_Match="*")
        deleted = await api.refused("DELETE", f"/resources/{path}", If_Match="*")
        assert {changed[0], deleted[0]} <= {400, 404}, path
    for path in ("%2e%2e/outside/a.md", "..%2foutside%2fa.md"):
        assert (await api("DELETE", f"/resources/{path}", If_Match="*"))[0] in (400, 404)
    assert [path.name for path in outside.iterdir()] == ["a.md"]
    assert (outside / "a.md").read_text() == TEXT


async def test_a_card_is_for_all_to_read(api: Api) -> None:
    """Not with the mode of a temporary file."""
    await api("POST", "/resources", {"card": TEXT, "path": "a.md"})
    assert stat.S_IMODE((api.cards / "a.md").stat().st_mode) == 0o644


# --- read-only ---------------------------------------------------------------------------------------------------


async def test_a_library_that_must_not_change_says_so(tmp_path: Path) -> None:
    write_card(tmp_path, "a.md")
    async with serving(tmp_path, cards_read_only=True) as api:
        assert (await api("GET", "/resources"))[1]["writable"] is False
        for method, path, body in (
            ("POST", "/resources", {"card": TEXT, "path": "b.md"}),
            ("PUT", "/resources/a.md", {"card": TEXT}),
            ("DELETE", "/resources/a.md", None),
        ):
            assert (await api.refused(method, path, body, If_Match="*"))[:2] == (409, "read_only")
        assert api.files() == ["a.md"]


async def test_a_folder_that_cannot_be_written_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Root may write everywhere, so the kernel's refusal is played."""
    async with serving(tmp_path) as api:
        assert (await api("GET", "/resources"))[1]["writable"] is True
        real = os.open

        def refusing(path: Any, flags: int, *more: Any, **named: Any) -> int:
            if flags & os.O_CREAT and ".card-" in str(path):
                raise PermissionError(13, "Permission denied", str(path))
            return real(path, flags, *more, **named)

        monkeypatch.setattr(os, "open", refusing)
        status, answer, _ = await api("POST", "/resources", {"card": TEXT, "path": "b.md"})
        assert (status, answer["code"]) == (409, "read_only")
        assert "INSTALLER_RESOURCES_DIR" in answer["message"]


# --- pictures ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        ("flux.png", (404, "not_found")),
        ("javascript:alert(1)", (404, "not_found")),
        ("http://169.254.169.254/x.png", (400, "invalid")),
        ("http://127.0.0.1:1/x.png", (400, "invalid")),
    ],
)
async def test_pictures_that_are_not_fetched(api: Api, image: str, expected: tuple[int, str]) -> None:
    write_card(api.cards.parent, "a.md", front=f'image: "{image}"\n')
    assert (await api.refused("GET", "/resources/a.md/picture"))[:2] == expected


async def test_what_is_no_picture_is_not_passed_on(
    tmp_path: Path, sites: tuple[StandInCivitai, StandInHuggingFace, dict[str, Any]]
) -> None:
    """Whatever its site calls it: a page would run what is in an SVG."""
    civitai, hub, settings = sites
    hub.add(StandInRepository(name="o/r", files={"x.svg": "<svg onload='alert(1)'/>"}))
    write_card(tmp_path, "a.md", front=f"image: {civitai.api_url}/o/r/resolve/main/x.svg\n")
    async with serving(tmp_path, **settings) as api:
        assert (await api.refused("GET", "/resources/a.md/picture"))[:2] == (502, "site_unavailable")
