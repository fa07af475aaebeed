"""A stand-in for CivitAI. Clients reach it like the real one: over TLS, by its own name, through a CONNECT proxy.

It answers what civitdl 2.2.0 asks for, with faults on request, and records every request, so that a test can count
them. It can run as a process of its own (``python -m service.demo.civitai``) that outlives the service under test.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import random
import ssl
import struct
import sys
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any, Protocol

import trustme
from aiohttp import web

HOSTS = ("civitai.com", "files.example")
BLOCK_BYTES = 64 * 1024
HEADER_BYTES = 128
BURST_SECONDS_MAX = 0.2


@dataclass(slots=True, kw_only=True)
class StandInModel:
    """A model and how its download goes wrong. ``status``: of the download; ``api_status``: of the metadata.

    ``fails``: how many downloads fail before later ones work (-1: all fail). ``drop_after_bytes``: where the connection
    breaks. ``hold_after_bytes``: where the download waits for ``release``.
    """

    id: int
    name: str
    size_bytes: int = 1_000_000
    images: int = 1
    bytes_per_second: int | None = None
    status: int = 200
    api_status: int = 200
    fails: int = -1
    requires_key: str | None = None
    drop_after_bytes: int | None = None
    hold_after_bytes: int | None = None
    has_length: bool = True
    listed_sha256: str | None = None
    body: str | None = None
    kind: str = "LORA"
    base_model: str = "SDXL 1.0"
    trained_words: Sequence[str] = ()
    listed_file_name: str | None = None

    @property
    def version_id(self) -> int:
        return self.id + 5_000

    @property
    def file_name(self) -> str:
        return f"model_{self.id}.safetensors"


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One request and its answer. ``bytes``: how much of the body was sent."""

    method: str
    path: str
    status: int
    bytes: int
    range: str | None = None


@dataclass(slots=True)
class _Count:
    bytes: int = 0
    status: int = 200


def content(model: StandInModel) -> Iterator[bytes]:
    """The file of a model, block by block: a real safetensors header, then bytes that its id seeds."""
    left = model.size_bytes - 8 - HEADER_BYTES
    header = json.dumps({"data": {"dtype": "U8", "shape": [left], "data_offsets": [0, left]}}).ljust(HEADER_BYTES)
    source = random.Random(model.id)  # noqa: S311 - the same bytes every time
    yield struct.pack("<Q", HEADER_BYTES) + header.encode()
    while left > 0:
        block = source.randbytes(min(BLOCK_BYTES, left))
        left -= len(block)
        yield block


def sha256(model: StandInModel) -> str:
    """Of the true content."""
    digest = hashlib.sha256()
    for block in content(model):
        digest.update(block)
    return digest.hexdigest()


class OtherSite(Protocol):
    """Another site behind the same proxy."""

    @property
    def hosts(self) -> Sequence[str]: ...

    def add_to(self, app: web.Application) -> None: ...


class StandInCivitai:
    """``start`` it, give ``env`` to the sessions that shall reach it, ``stop`` it.

    ``api_url``: where it answers without TLS, for a service that is told to ask there. ``image_origin``: of the
    pictures' addresses. ``account_key``: of the one account that the site knows."""

    def __init__(self, folder: Path, *sites: OtherSite) -> None:
        self._folder = folder
        self._sites = sites
        self._hosts = (*HOSTS, *(host for site in sites for host in site.hosts))
        self.image_origin = "https://civitai.com"
        self.account_key: str | None = None
        self.api_port = 0
        self._models: dict[int, StandInModel] = {}
        self._released = asyncio.Event()
        self._runners: list[web.AppRunner] = []
        self._proxy: asyncio.Server | None = None
        self._tunnels: dict[asyncio.Task[None], asyncio.StreamWriter] = {}
        self._tls_port = 0
        self.proxy_port = 0
        self.control_port = 0
        self.requests: list[Request] = []

    @property
    def ca_path(self) -> Path:
        return self._folder / "ca.pem"

    @property
    def api_url(self) -> str:
        return f"http://127.0.0.1:{self.api_port}"

    @property
    def env(self) -> dict[str, str]:
        """The environment that leads civitdl, wget, curl and aria2c here."""
        proxy = f"http://127.0.0.1:{self.proxy_port}"
        bundle = str(self.ca_path)
        return {
            "HTTPS_PROXY": proxy,
            "https_proxy": proxy,
            "NO_PROXY": "",
            "no_proxy": "",
            "REQUESTS_CA_BUNDLE": bundle,
            "SSL_CERT_FILE": bundle,
            "CURL_CA_BUNDLE": bundle,
            "WGETRC": str(self._folder / "wgetrc"),
        }

    def add(self, *models: StandInModel) -> None:
        for model in models:
            self._models[model.id] = model

    def release(self) -> None:
        """Let held downloads continue."""
        self._released.set()

    def downloads(self, model_id: int) -> list[Request]:
        """The requests for the file of this model."""
        path = f"/api/download/models/{model_id + 5_000}"
        return [request for request in self.requests if request.path == path and request.method == "GET"]

    async def start(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        authority = trustme.CA()
        authority.cert_pem.write_to_path(str(self.ca_path))
        (self._folder / "wgetrc").write_text(f"ca_certificate = {self.ca_path}\n", encoding="utf-8")
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        authority.issue_cert(*self._hosts).configure_cert(context)
        app = web.Application()
        app.router.add_get("/api/v1/me", self._account)
        app.router.add_get("/api/v1/models/{id}", self._model)
        app.router.add_get("/api/v1/model-versions/{id}", self._version)
        app.router.add_get("/api/download/models/{id}", self._download)
        app.router.add_get("/files/{id}.safetensors", self._file)
        app.router.add_get("/image/{name}", self._image)
        for site in self._sites:
            site.add_to(app)
        self._tls_port, self.api_port = await self._serve(app, context, None)
        control = web.Application()
        control.router.add_get("/requests", self._list_requests)
        control.router.add_post("/models", self._add_model)
        control.router.add_post("/release", self._release)
        (self.control_port,) = await self._serve(control, None)
        self._proxy = await asyncio.start_server(self._tunnel, "127.0.0.1", 0)
        self.proxy_port = self._proxy.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        self.release()
        if self._proxy is not None:
            self._proxy.close()
        for writer in self._tunnels.values():
            writer.transport.abort()
        if self._tunnels:
            await asyncio.wait(self._tunnels)
        for runner in self._runners:
            await runner.cleanup()

    async def _serve(self, app: web.Application, *contexts: ssl.SSLContext | None) -> tuple[int, ...]:
        """On a port for each context."""
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        for context in contexts:
            await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
        self._runners.append(runner)
        return tuple(int(address[1]) for address in runner.addresses)

    # --- what civitdl asks for -----------------------------------------------------------------------------------

    async def _model(self, request: web.Request) -> web.Response:
        model = self._find(int(request.match_info["id"]))
        if model is None or model.api_status != 200:
            status = 404 if model is None else model.api_status
            return self._noted(request, web.json_response({"error": "no"}, status=status))
        body = _model_json(model) | {"modelVersions": [_version_json(model, self.image_origin)]}
        return self._noted(request, web.json_response(body))

    async def _version(self, request: web.Request) -> web.Response:
        model = self._find(int(request.match_info["id"]) - 5_000)
        if model is None or model.api_status != 200:
            status = 404 if model is None else model.api_status
            return self._noted(request, web.json_response({"error": "no"}, status=status))
        about = {"name": model.name, "type": model.kind, "nsfw": False, "poi": False}
        return self._noted(request, web.json_response(_version_json(model, self.image_origin) | {"model": about}))

    async def _account(self, request: web.Request) -> web.Response:
        is_known = request.headers.get("Authorization") == f"Bearer {self.account_key}"
        body = {"id": 7, "username": "renter", "tier": "free"} if is_known else {"error": "Unauthorized"}
        return self._noted(request, web.json_response(body, status=200 if is_known else 401))

    async def _image(self, request: web.Request) -> web.Response:
        return self._noted(request, web.Response(body=picture(), content_type="image/png"))

    async def _download(self, request: web.Request) -> web.StreamResponse:
        return await self._send_file(request, self._find(int(request.match_info["id"]) - 5_000))

    async def _file(self, request: web.Request) -> web.StreamResponse:
        return await self._send_file(request, self._find(int(request.match_info["id"])))

    async def _send_file(self, request: web.Request, model: StandInModel | None) -> web.StreamResponse:
        count = _Count()
        try:
            return await self._answer(request, model, count)
        finally:
            self.requests.append(
                Request(
                    method=request.method,
                    path=request.path,
                    status=count.status,
                    bytes=count.bytes,
                    range=request.headers.get("Range"),
                )
            )

    async def _answer(self, request: web.Request, model: StandInModel | None, count: _Count) -> web.StreamResponse:
        refused = 404 if model is None else self._refused(request, model)
        if model is None or refused != 200:
            count.status = refused
            headers = {"Retry-After": "1"} if refused == 429 else {}
            return web.json_response({"message": "refused", "deadline": "soon"}, status=refused, headers=headers)
        if request.method == "HEAD":
            return web.Response(headers={**_disposition(model), "Content-Length": str(model.size_bytes)})
        if model.body is not None:
            count.bytes = len(model.body)
            kind = "text/html" if model.body.startswith("<") else "application/json"
            return web.Response(text=model.body, headers={**_disposition(model), "Content-Type": kind})
        response = web.StreamResponse(headers=_disposition(model))
        if model.has_length:
            response.content_length = model.size_bytes
        else:
            response.enable_chunked_encoding()
        await response.prepare(request)
        await self._send_blocks(request, response, model, count)
        return response

    async def _send_blocks(
        self, request: web.Request, response: web.StreamResponse, model: StandInModel, count: _Count
    ) -> None:
        clock = asyncio.get_running_loop().time
        due = clock()
        for block in content(model):
            await response.write(block)
            count.bytes += len(block)
            if model.hold_after_bytes is not None and count.bytes >= model.hold_after_bytes:
                await self._released.wait()
            if model.drop_after_bytes is not None and count.bytes >= model.drop_after_bytes and self._fails(model):
                if request.transport is not None:
                    request.transport.abort()
                return
            if model.bytes_per_second is not None:
                # The rate may change during a download, and a delay is not made up in one burst.
                due = max(due, clock() - BURST_SECONDS_MAX) + len(block) / model.bytes_per_second
                await asyncio.sleep(max(0.0, due - clock()))
        await response.write_eof()

    def _refused(self, request: web.Request, model: StandInModel) -> int:
        if model.requires_key is not None:
            return 200 if request.headers.get("Authorization") == f"Bearer {model.requires_key}" else 401
        return model.status if model.status != 200 and self._fails(model) else 200

    def _fails(self, model: StandInModel) -> bool:
        if model.fails > 0:
            model.fails -= 1
            return True
        return model.fails < 0

    def _find(self, model_id: int) -> StandInModel | None:
        return self._models.get(model_id)

    def _noted(self, request: web.Request, response: web.Response) -> web.Response:
        length = len(response.body) if isinstance(response.body, bytes) else 0
        self.requests.append(Request(method=request.method, path=request.path, status=response.status, bytes=length))
        return response

    # --- the control of a stand-in that is a process of its own ---------------------------------------------------

    async def _list_requests(self, request: web.Request) -> web.Response:
        return web.json_response([asdict(entry) for entry in self.requests])

    async def _add_model(self, request: web.Request) -> web.Response:
        self.add(StandInModel(**await request.json()))
        return web.json_response({})

    async def _release(self, request: web.Request) -> web.Response:
        self.release()
        return web.json_response({})

    # --- the CONNECT proxy ----------------------------------------------------------------------------------------

    async def _tunnel(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is not None:
            self._tunnels[task] = writer
            task.add_done_callback(lambda done: self._tunnels.pop(done, None))
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            method, target, *_ = head.split()
            if method != "CONNECT" or target.rpartition(":")[0] not in self._hosts:
                writer.write(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n")
                await writer.drain()
            else:
                far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._tls_port)
                writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
                await asyncio.gather(_pump(reader, far_writer), _pump(far_reader, writer))
        writer.close()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(BLOCK_BYTES):
            writer.write(data)
            await writer.drain()
    except ConnectionError:
        # One side broke: show it to the other at once, as without a proxy.
        writer.transport.abort()
    finally:
        writer.close()


def _model_json(model: StandInModel) -> dict[str, Any]:
    return {
        "id": model.id,
        "name": model.name,
        "type": model.kind,
        "nsfw": False,
        "nsfwLevel": 1,
        "tags": ["style"],
        "creator": {"username": "somebody"},
        "allowNoCredit": False,
        "allowCommercialUse": ["Image"],
        "allowDerivatives": True,
    }


def _version_json(model: StandInModel, image_origin: str) -> dict[str, Any]:
    url = f"https://civitai.com/api/download/models/{model.version_id}"
    hashes = {"SHA256": (model.listed_sha256 or sha256(model)).upper(), "AutoV2": "ABCDEF1234"}
    return {
        "id": model.version_id,
        "modelId": model.id,
        "name": "v1.0",
        "downloadUrl": url,
        "baseModel": model.base_model,
        "trainedWords": list(model.trained_words),
        "files": [
            {
                "id": model.id,
                "name": model.listed_file_name or model.file_name,
                "type": "Model",
                "primary": True,
                "sizeKB": model.size_bytes / 1024,
                "pickleScanResult": "Success",
                "virusScanResult": "Success",
                "downloadUrl": url,
                "hashes": hashes,
            }
        ],
        "images": [
            {"url": f"{image_origin}/image/{model.id}-{n}.png", "nsfwLevel": 1, "type": "image"}
            for n in range(model.images)
        ],
    }


@cache
def picture() -> bytes:
    """A PNG of 320 x 240: a gradient."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = b"".join(b"\0" + bytes(v for x in range(320) for v in (x * 255 // 320, y, 180)) for y in range(240))
    head = struct.pack(">IIBBBBB", 320, 240, 8, 2, 0, 0, 0)
    parts = (chunk(b"IHDR", head), chunk(b"IDAT", zlib.compress(rows, 9)), chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def _disposition(model: StandInModel) -> dict[str, str]:
    return {
        "Content-Disposition": f'attachment; filename="{model.file_name}"',
        "Content-Type": "application/octet-stream",
    }


async def _main(folder: Path, announce: Callable[[str], None]) -> None:
    stand_in = StandInCivitai(folder)
    await stand_in.start()
    announce(json.dumps({"control_port": stand_in.control_port, "env": stand_in.env}))
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_main(Path(sys.argv[1]), lambda line: print(line, flush=True)))
