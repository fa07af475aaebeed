"""The pages that the service serves: the dashboard at ``/``, the description of the API at ``/docs``, and their assets.

The build makes these files (see dashboard/). Their names are read once, at the start, so that an address that a client
sends never becomes a path. The pages are open to all: they ask for their data with the token.
"""

from __future__ import annotations

from pathlib import Path

from aiohttp import web

FOLDER = Path(__file__).parent / "dashboard"
ASSETS = "/assets/"
PAGES = {"/": "index.html", "/docs": "docs.html"}

# Nothing inline, nothing from other origins; 'self' includes the WebSocket of the same origin.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_SAFE = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
}
# An asset's name holds a digest of it.
_FOR_EVER = {"Cache-Control": "public, max-age=31536000, immutable", "X-Content-Type-Options": "nosniff"}
_NEVER = {"Cache-Control": "no-cache"}
_NOT_BUILT = """<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><title>Resource installer</title></head>
<body>
<h1>The pages are not built</h1>
<p>The service runs and its API works. In its source tree, <code>make dashboard</code> builds the pages; then start the
service again. A wheel that <code>make build</code> makes contains them.</p>
</body>
</html>
"""


class Pages:
    """The built files below ``folder``, which may be missing."""

    def __init__(self, folder: Path = FOLDER) -> None:
        self._pages = {address: folder / name for address, name in PAGES.items() if (folder / name).is_file()}
        assets = folder / ASSETS.strip("/")
        found = assets.iterdir() if assets.is_dir() else ()
        # aiohttp finds the compressed form of a file beside it.
        self._assets = {path.name: path for path in found if path.suffix not in ("", ".gz")}

    def add_to(self, app: web.Application) -> None:
        for address in PAGES:
            app.router.add_get(address, self._page)
        app.router.add_get(ASSETS + "{name}", self._asset)

    async def _page(self, request: web.Request) -> web.StreamResponse:
        path = self._pages.get(request.path)
        if path is None:
            return web.Response(text=_NOT_BUILT, content_type="text/html", charset="utf-8", headers=_SAFE)
        return web.FileResponse(path, headers=_SAFE | _NEVER)

    async def _asset(self, request: web.Request) -> web.StreamResponse:
        path = self._assets.get(request.match_info["name"])
        if path is None:
            raise web.HTTPNotFound
        return web.FileResponse(path, headers=_FOR_EVER)


def is_page(path: str) -> bool:
    """Whether this path names a page or an asset: they are shown without a token."""
    return path in PAGES or path.startswith(ASSETS)
