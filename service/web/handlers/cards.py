"""The library of resource cards: read it, and change it."""

from __future__ import annotations

import asyncio
from typing import cast

from aiohttp import web

from service.errors import FieldError, InvalidRequest, NoModelFile, UnknownResource, VersionRequired
from service.library import BrokenCard, Resource
from service.links import make_preview, read_picture
from service.web.answers import Cards, CardView, CardWithScript, DeletedCard, Picture, SavedCard
from service.web.card_requests import CardRequest, NewCardRequest
from service.web.services import Services

MARKDOWN = "text/markdown"
# Paths of the API below /resources.
TAKEN = ("jobs", "instances")


async def list_cards(services: Services) -> Cards:
    cards = await asyncio.to_thread(services.library.all)
    return {
        "resources": [cast(CardView, card.to_dict()) for card in cards if isinstance(card, Resource)],
        "broken": [{"path": card.path, "error": card.error} for card in cards if isinstance(card, BrokenCard)],
        "writable": await asyncio.to_thread(lambda: services.editor.is_writable),
    }


async def show_card(services: Services, *, path: str, content_type: str) -> CardWithScript | web.Response:
    try:
        if content_type == MARKDOWN:
            raw = await asyncio.to_thread(services.editor.text, path)
            headers = {"ETag": f'"{services.editor.version_of(raw)}"'}
            return web.Response(body=raw, content_type=MARKDOWN, charset="utf-8", headers=headers)
        card = await asyncio.to_thread(services.library.get, path)
    except InvalidRequest as error:
        # A path that no card can have names no card.
        raise UnknownResource(error.message) from error
    return _view(card)


async def show_picture(services: Services, *, path: str) -> Picture:
    try:
        card = await asyncio.to_thread(services.library.get, path)
    except InvalidRequest as error:
        raise UnknownResource(error.message) from error
    image = card.front.image or ""
    if not image.startswith(("https://", "http://")):
        raise UnknownResource("this card has no image with an address")
    return {"picture": await read_picture(services.outbound, image)}


async def add_card(services: Services, *, body: NewCardRequest) -> SavedCard:
    """Of a link, or of a text as it is."""
    if (body.url is None) == (body.card is None):
        raise _wrong("url", 'give either "url" or "card"')
    if body.card is not None and (body.file is not None or body.folder is not None):
        raise _wrong("file" if body.file is not None else "folder", "belongs to a link")
    path, text, message = await _of_link(services, body) if body.card is None else (body.path, body.card, "saved")
    if path is None:
        raise _wrong("path", "is missing: say where the card shall lie, like loras/x.md")
    if path.partition("/")[0] in TAKEN:
        raise _wrong("path", f"{path.partition('/')[0]}/ belongs to the API: choose another folder")
    card = await asyncio.to_thread(services.editor.create, path, text)
    return {"success": True, "message": message, **_view(card)}


async def _of_link(services: Services, body: NewCardRequest) -> tuple[str, str, str]:
    """Path, text, and what to say of it."""
    await services.keys.renew()
    found = await services.links.read(body.url or "", file=body.file, folder=body.folder)
    preview = await asyncio.to_thread(make_preview, found, services.library, body.path)
    if preview.text is None:
        message = f'the repository has {len(found.choices)} model files: name one as "file"'
        raise NoModelFile(message, [FieldError("file", message)])
    same = [other.path for other in preview.duplicates if other.why == "sha256"]
    return preview.path, preview.text, f"saved; the same file is on {', '.join(same[:5])}" if same else "saved"


async def change_card(services: Services, *, path: str, body: CardRequest, if_match: str | None) -> SavedCard:
    card = await asyncio.to_thread(services.editor.replace, path, body.card, _seen(if_match))
    return {"success": True, "message": "saved", **_view(card)}


async def delete_card(services: Services, *, path: str, if_match: str | None) -> DeletedCard:
    await asyncio.to_thread(services.editor.delete, path, _seen(if_match))
    return {"success": True, "path": path, "message": "deleted"}


def _seen(if_match: str | None) -> str:
    if if_match is None:
        message = "say which version of the card you saw: send the ETag of GET /resources/{path} as If-Match"
        raise VersionRequired(message, [FieldError("If-Match", message)])
    return if_match


def _view(card: Resource) -> CardWithScript:
    return cast(CardWithScript, {**card.to_dict(), "download": card.script})


def _wrong(field: str, message: str) -> InvalidRequest:
    return InvalidRequest(f"{field}: {message}", [FieldError(field, message)])
