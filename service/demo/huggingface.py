"""A stand-in for Hugging Face: the API of repositories of models, and their files, behind the proxy of civitai.py.

As on the site, a file's address sends on to a storage, which refuses a request that carries a token.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from service.demo.civitai import StandInModel, content, sha256

HOST = "huggingface.co"
STORAGE = "files.example"
COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass(slots=True, kw_only=True)
class StandInRepository:
    """``files``: by their paths; a text stands for a small file that is no model. ``requires_token``: without it the
    repository is gated, or, if it is ``private``, not there."""

    name: str
    files: Mapping[str, StandInModel | str] = field(default_factory=dict)
    requires_token: str | None = None
    private: bool = False
    license: str = "apache-2.0"
    base_model: str | None = None
    tags: tuple[str, ...] = ()


class StandInHuggingFace:
    """``requests``: method, path and whether a token came along, of each request. ``account_token``: of the one account
    that the site knows. ``sent_bytes``: of the files of models, so far."""

    hosts = (HOST,)

    def __init__(self) -> None:
        self._repositories: dict[str, StandInRepository] = {}
        self.requests: list[tuple[str, str, bool]] = []
        self.account_token: str | None = None
        self.sent_bytes = 0

    def add(self, *repositories: StandInRepository) -> None:
        for repository in repositories:
            self._repositories[repository.name] = repository

    def add_to(self, app: web.Application) -> None:
        app.router.add_get("/api/whoami-v2", self._account)
        app.router.add_get("/api/models/{owner}/{name}/revision/{revision}", self._info)
        app.router.add_get("/{owner}/{name}/resolve/{revision}/{path:.+}", self._resolve)
        app.router.add_get("/storage/{owner}/{name}/{path:.+}", self._store)

    async def _account(self, request: web.Request) -> web.Response:
        if request.headers.get("Authorization") != f"Bearer {self.account_token}":
            return _refused(401, "InvalidToken")
        return web.json_response({"type": "user", "name": "renter", "auth": {"type": "access_token"}})

    async def _info(self, request: web.Request) -> web.Response:
        repository = self._noted(request)
        if repository is None or (repository.private and not _may(request, repository)):
            return _refused(401, "RepoNotFound")
        is_gated = repository.requires_token is not None and not repository.private
        return web.json_response(
            {
                "id": repository.name,
                "sha": COMMIT,
                "private": repository.private,
                "gated": "manual" if is_gated else False,
                "tags": list(repository.tags),
                "cardData": {"license": repository.license, "base_model": repository.base_model},
                "siblings": [_sibling(path, file) for path, file in repository.files.items()],
            }
        )

    async def _resolve(self, request: web.Request) -> web.Response:
        repository = self._noted(request)
        path = request.match_info["path"]
        if repository is None or path not in repository.files:
            return _refused(404, "EntryNotFound" if repository is not None else "RepoNotFound")
        if not _may(request, repository):
            return _refused(401, "GatedRepo")
        file = repository.files[path]
        if isinstance(file, str):
            return web.Response(text=file)
        headers = {
            "Location": f"https://{STORAGE}/storage/{repository.name}/{path}",
            "X-Repo-Commit": COMMIT,
            "X-Linked-Size": str(file.size_bytes),
            "X-Linked-ETag": f'"{sha256(file)}"',
        }
        return web.Response(status=302, headers=headers)

    async def _store(self, request: web.Request) -> web.Response:
        repository = self._noted(request)
        file = repository.files.get(request.match_info["path"]) if repository is not None else None
        if not isinstance(file, StandInModel):
            return _refused(404, "EntryNotFound")
        if "Authorization" in request.headers:
            return web.Response(status=400, text="Only one auth mechanism allowed")
        body = b"".join(content(file))
        begin = request.http_range.start or 0
        if begin >= len(body):
            return web.Response(status=416)
        headers = {"Accept-Ranges": "bytes"}
        if begin:
            headers["Content-Range"] = f"bytes {begin}-{len(body) - 1}/{len(body)}"
        if request.method == "GET":
            self.sent_bytes += len(body) - begin
        return web.Response(status=206 if begin else 200, body=body[begin:], headers=headers)

    def _noted(self, request: web.Request) -> StandInRepository | None:
        self.requests.append((request.method, request.path, "Authorization" in request.headers))
        return self._repositories.get(f"{request.match_info['owner']}/{request.match_info['name']}")


def _may(request: web.Request, repository: StandInRepository) -> bool:
    wanted = repository.requires_token
    return wanted is None or request.headers.get("Authorization") == f"Bearer {wanted}"


def _sibling(path: str, file: StandInModel | str) -> dict[str, Any]:
    if isinstance(file, str):
        return {"rfilename": path, "size": len(file), "blobId": hashlib.sha1(file.encode()).hexdigest()}  # noqa: S324
    lfs = {"sha256": sha256(file), "size": file.size_bytes, "pointerSize": 134}
    return {"rfilename": path, "size": file.size_bytes, "lfs": lfs}


def _refused(status: int, code: str) -> web.Response:
    return web.json_response({"error": "refused"}, status=status, headers={"X-Error-Code": code})
