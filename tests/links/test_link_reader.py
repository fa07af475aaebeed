"""Links asked at stand-ins of CivitAI and Hugging Face, and at sites that answer with anything."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from service.demo.civitai import StandInCivitai, StandInModel, sha256
from service.demo.huggingface import StandInHuggingFace, StandInRepository
from service.errors import InvalidRequest, KeyNeeded, NoModelFile, OutboundError, UnknownLink
from service.library import Library
from service.links import LinkReader, make_preview
from service.links.found import Found
from service.outbound import Outbound

KEY, TOKEN = "key-of-the-tests", "hf_token_of_the_tests"
VAE = StandInModel(id=7, name="", size_bytes=5_000)


class Sites:
    """Both stand-ins, and readers of links that ask them."""

    def __init__(self, folder: Path) -> None:
        self.hub = StandInHuggingFace()
        self.civitai = StandInCivitai(folder, self.hub)

    def reader(self, key: str | None = None, token: str | None = None) -> LinkReader:
        base = self.civitai.api_url
        tokens = {base: given} if (given := token or key) is not None else {}
        outbound = Outbound(allowed=[f"127.0.0.1:{self.civitai.api_port}"], tokens=lambda: tokens)
        return LinkReader(outbound, civitai_url=base, huggingface_url=base)


@pytest.fixture
async def sites(tmp_path: Path) -> AsyncIterator[Sites]:
    found = Sites(tmp_path / "sites")
    await found.civitai.start()
    yield found
    await found.civitai.stop()


async def test_a_model_of_civitai(sites: Sites) -> None:
    model = StandInModel(id=12, name="Dramatic\nLight", size_bytes=9_999, trained_words=["dramatic, light", "dramatic"])
    sites.civitai.add(model)
    page = f"https://civitai.com/models/12?modelVersionId={model.version_id}"
    links = ("https://civitai.com/models/12/any", f"https://civitai.com/api/download/models/{model.version_id}", page)
    found = [await sites.reader().read(link) for link in (*links, f"urn:air:sdxl:lora:civitai:12@{model.version_id}")]
    assert found == [found[0]] * 4
    first = found[0]
    assert (first.title, first.folder, first.folder_is_guess, first.url) == ("Dramatic Light", "loras", False, page)
    assert first.file is not None
    assert (first.file.name, first.file.size, first.file.sha256) == ("model_12.safetensors", 9_999, sha256(model))
    assert (first.basemodel, first.trigger_words, first.creator) == ("SDXL 1.0", ("dramatic", "light"), "somebody")
    assert first.license == "commercial use: Image; credit required"
    assert first.image == "https://civitai.com/image/12-0.png"
    assert (first.missing, first.notes, first.choices) == ((), (), ())


@pytest.mark.parametrize(
    ("kind", "folder"),
    [
        ("Checkpoint", "checkpoints"),
        ("LoCon", "loras"),
        ("DoRA", "loras"),
        ("VAE", "vae"),
        ("Controlnet", "controlnet"),
        ("Upscaler", "upscale_models"),
        ("TextualInversion", "embeddings"),
        ("MotionModule", "animatediff_models"),
    ],
)
async def test_a_type_has_its_folder(sites: Sites, kind: str, folder: str) -> None:
    sites.civitai.add(StandInModel(id=12, name="x", kind=kind))
    assert (await sites.reader().read("civitai:12")).folder == folder
    assert (await sites.reader().read("civitai:12", folder="loras/mine")).folder == "loras/mine"


async def test_what_civitai_does_not_give(sites: Sites) -> None:
    sites.civitai.add(
        StandInModel(id=1, name="keyed", requires_key=KEY),
        StandInModel(id=2, name="gone", api_status=404),
        StandInModel(id=3, name="shut", api_status=401),
        StandInModel(id=4, name="busy", api_status=503),
        StandInModel(id=5, name="poses", kind="Poses"),
    )
    (missing,) = (await sites.reader().read("civitai:1")).missing
    assert missing.setting == "INSTALLER_CIVITAI_API_KEY"
    assert (await sites.reader(key=KEY).read("civitai:1")).missing == ()
    refused = await sites.reader(key="another-key").read("civitai:1")
    assert "early access" in refused.notes[0]
    for number, kind, words in (
        (2, UnknownLink, "has no model 2"),
        (99, UnknownLink, "has no model 99"),
        (3, KeyNeeded, "set INSTALLER_CIVITAI_API_KEY"),
        (4, OutboundError, "status 503"),
        (5, NoModelFile, 'type "Poses"'),
    ):
        with pytest.raises(kind, match=words):
            await sites.reader().read(f"civitai:{number}")
    with pytest.raises(UnknownLink, match="no version 77"):
        await sites.reader().read("civitai:1@77")


def repository(**more: Any) -> StandInRepository:
    files = {"README.md": "words", "config.json": "{}", "split_files/vae/ae.safetensors": VAE}
    return StandInRepository(**({"name": "owner/flux", "files": files, "base_model": "FLUX.1"} | more))


async def test_a_file_of_hugging_face(sites: Sites) -> None:
    sites.hub.add(repository())
    address = "https://huggingface.co/owner/flux/resolve/main/split_files/vae/ae.safetensors"
    for link in (address, address.replace("/resolve/", "/blob/"), "https://huggingface.co/owner/flux"):
        found = await sites.reader().read(link)
        assert found.file is not None
        assert (found.file.name, found.file.size, found.file.sha256) == ("ae.safetensors", 5_000, sha256(VAE))
        assert (found.folder, found.folder_is_guess, found.address) == ("vae", False, address)
        assert (found.license, found.basemodel, found.asks_for_token) == ("apache-2.0", "FLUX.1", False)


async def test_a_repository_lets_one_of_its_files_be_chosen(sites: Sites) -> None:
    files = {"a/one.safetensors": VAE, "b/two.gguf": StandInModel(id=8, name="", size_bytes=700), "b/notes.txt": "x"}
    sites.hub.add(repository(files=files))
    read = sites.reader().read
    found = await read("https://huggingface.co/owner/flux")
    assert found.file is None
    assert [(choice.file, choice.size) for choice in found.choices] == [
        ("a/one.safetensors", 5_000),
        ("b/two.gguf", 700),
    ]
    chosen = await read("https://huggingface.co/owner/flux", file="b/two.gguf")
    assert chosen.file is not None
    assert (chosen.file.name, chosen.folder) == ("two.gguf", "diffusion_models")
    # A link to a folder means its files.
    inside = await read("https://huggingface.co/owner/flux/tree/main/b")
    assert inside.file is not None
    assert inside.file.name == "two.gguf"
    for link, file, kind in (
        ("https://huggingface.co/owner/flux", "b/three.gguf", UnknownLink),
        ("https://huggingface.co/owner/flux", "b/notes.txt", NoModelFile),
        ("https://huggingface.co/owner/flux/blob/main/b/notes.txt", None, NoModelFile),
        ("https://huggingface.co/owner/flux/blob/main/c.gguf", None, UnknownLink),
        ("https://huggingface.co/owner/flux/tree/main/c", None, NoModelFile),
        ("https://huggingface.co/owner/nothing", None, KeyNeeded),
        ("civitai:1", "b/two.gguf", InvalidRequest),
    ):
        with pytest.raises(kind):
            await read(link, file=file)


async def test_gated_and_private_repositories(sites: Sites) -> None:
    sites.hub.add(repository(requires_token=TOKEN), repository(name="owner/secret", requires_token=TOKEN, private=True))
    gated = "https://huggingface.co/owner/flux"
    found = await sites.reader().read(gated)
    assert (found.asks_for_token, found.missing[0].setting) == (True, "INSTALLER_HF_TOKEN")
    assert f"accept its terms at {gated}" in found.missing[0].message
    # The hash is known all the same.
    assert found.file is not None
    assert found.file.sha256 == sha256(VAE)
    wrong = await sites.reader(token="hf_of_another").read(gated)
    assert "may not download this gated file" in wrong.missing[0].message
    mine = await sites.reader(token=TOKEN).read(gated)
    assert (mine.asks_for_token, mine.missing) == (True, ())
    private = "https://huggingface.co/owner/secret"
    with pytest.raises(KeyNeeded, match="if it is private, set INSTALLER_HF_TOKEN"):
        await sites.reader().read(private)
    with pytest.raises(KeyNeeded, match="may not see it"):
        await sites.reader(token="hf_of_another").read(private)
    assert (await sites.reader(token=TOKEN).read(private)).asks_for_token


async def test_the_same_file_is_found_in_the_library(sites: Sites, tmp_path: Path) -> None:
    sites.civitai.add(StandInModel(id=12, name="Twice"))
    found = await sites.reader().read("civitai:12")
    library = Library(tmp_path)
    first = make_preview(found, library)
    assert (first.path, first.duplicates) == ("loras/twice_v1_0.md", ())
    assert first.commands.startswith("civitdl ")
    assert first.text is not None
    (tmp_path / "loras").mkdir()
    (tmp_path / first.path).write_text(first.text)
    (tmp_path / "other.md").write_text("---\nAIR: civitai:12@5012\n---\n# Download\n```bash\ntrue\n```\n")
    again = make_preview(found, library)
    assert again.path == "loras/twice_v1_0_2.md"
    assert [(each.path, each.why) for each in again.duplicates] == [
        ("loras/twice_v1_0.md", "sha256"),
        ("other.md", "AIR"),
    ]


# --- any site -------------------------------------------------------------------------------------------------------


class AnySite:
    """Answers each path as it is told."""

    def __init__(self) -> None:
        self.answers: dict[str, web.Response] = {}
        self.port = 0

    def reader(self) -> LinkReader:
        base = f"http://127.0.0.1:{self.port}"
        return LinkReader(Outbound(allowed=[f"127.0.0.1:{self.port}"]), civitai_url=base, huggingface_url=base)

    async def direct(self, path: str) -> Found:
        return await self.reader().read(f"http://127.0.0.1:{self.port}{path}")


@pytest.fixture
async def anything() -> AsyncIterator[AnySite]:
    site = AnySite()

    async def answer(request: web.Request) -> web.Response:
        found = site.answers.get(f"{request.method} {request.path}") or site.answers.get(request.path)
        # A response is sent once.
        return (
            web.Response(status=404)
            if found is None
            else web.Response(status=found.status, headers=found.headers, body=found.body)
        )

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    site.port = int(runner.addresses[0][1])
    yield site
    await runner.cleanup()


async def test_a_direct_address(anything: AnySite) -> None:
    plain = {"Content-Type": "application/octet-stream"}
    anything.answers = {
        "/a/vae/wan%20vae.safetensors": web.Response(body=b"x" * 321, headers=plain),
        "/download": web.Response(
            headers=plain | {"Content-Disposition": "attachment; filename*=UTF-8''my%20lora.gguf"}
        ),
        "/quoted": web.Response(headers=plain | {"Content-Disposition": 'attachment; filename="../../x.pth"'}),
        "HEAD /no-head.pth": web.Response(status=405),
        "GET /no-head.pth": web.Response(status=206, body=b"x", headers=plain | {"Content-Range": "bytes 0-0/4321"}),
        "/page.safetensors": web.Response(text="<html>", content_type="text/html"),
        "/words": web.Response(headers=plain),
        "/shut.pth": web.Response(status=403),
        "/broken.pth": web.Response(status=500),
    }
    anything.answers["/a/vae/wan vae.safetensors"] = anything.answers.pop("/a/vae/wan%20vae.safetensors")
    found = await anything.direct("/a/vae/wan%20vae.safetensors")
    assert found.file is not None
    assert (found.file.name, found.file.size, found.folder) == ("wan vae.safetensors", 321, "vae")
    names = [(await anything.direct(path)).file for path in ("/download", "/quoted", "/no-head.pth")]
    assert [(file.name, file.size) for file in names if file is not None] == [
        ("my lora.gguf", None),
        ("x.pth", None),
        ("no-head.pth", 4321),
    ]
    for path, kind, words in (
        ("/page.safetensors", NoModelFile, "text/html"),
        ("/words", NoModelFile, "ends with none of"),
        ("/shut.pth", KeyNeeded, "write a card by hand"),
        ("/broken.pth", OutboundError, "status 500"),
        ("/nothing.pth", UnknownLink, "nothing at this address"),
    ):
        with pytest.raises(kind, match=words):
            await anything.direct(path)


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b"null", b"<html>", b"[" * 100_000, b'{"modelVersions": 5}'])
async def test_answers_that_are_none(anything: AnySite, body: bytes) -> None:
    anything.answers["/api/v1/models/1"] = web.Response(body=body)
    anything.answers["/api/models/o/r/revision/main"] = web.Response(body=body)
    for link in ("civitai:1", "https://huggingface.co/o/r"):
        with pytest.raises((OutboundError, UnknownLink, NoModelFile)):
            await anything.reader().read(link)


@pytest.mark.parametrize("junk", [None, 5, -1, 1.5, True, "x" * 100, [], [[]], {}, {"a": 1}, ["x", 5, None], "\ud83d"])
async def test_fields_of_any_type_break_nothing(anything: AnySite, junk: Any, tmp_path: Path) -> None:
    """Each field of an answer, one after the other, holds something else than it should."""
    version: dict[str, Any] = {
        "id": 2,
        "name": "v1",
        "baseModel": "SDXL",
        "trainedWords": ["x"],
        "air": "urn:air:sdxl:lora:civitai:1@2",
        "images": [{"url": "https://a.example/x.png", "nsfwLevel": 1, "type": "image"}],
        "files": [{"name": "x.pth", "type": "Model", "primary": True, "sizeKB": 1.5, "hashes": {"SHA256": "ab" * 32}}],
    }
    model: dict[str, Any] = {"name": "M", "type": "LORA", "tags": ["t"], "creator": {"username": "u"}}
    model |= {"allowCommercialUse": ["Image"], "allowNoCredit": True, "modelVersions": [version]}
    places = [(model, key) for key in model] + [(version, key) for key in version]
    places += [(version["files"][0], key) for key in version["files"][0]]
    places += [(version["images"][0], key) for key in version["images"][0]]
    reader, library = anything.reader(), Library(tmp_path)
    for holder, key in places:
        kept, holder[key] = holder[key], junk
        anything.answers["/api/v1/models/1"] = web.Response(body=json.dumps(model).encode("utf-8", "surrogatepass"))
        holder[key] = kept
        try:
            found = await reader.read("civitai:1")
        except (OutboundError, UnknownLink, NoModelFile):
            continue
        assert make_preview(found, library).text is not None
