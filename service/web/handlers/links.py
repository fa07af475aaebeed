"""What a link would become in the library."""

from __future__ import annotations

import asyncio

from service.errors import OutboundError
from service.links import Preview, make_preview, read_picture
from service.links.folders import type_of
from service.web.answers import CardPreview
from service.web.card_requests import PreviewRequest
from service.web.services import Services


async def preview_card(services: Services, *, body: PreviewRequest) -> CardPreview:
    """Nothing is written."""
    await services.keys.renew()
    found = await services.links.read(body.url, file=body.file, folder=body.folder)
    preview = await asyncio.to_thread(make_preview, found, services.library, body.path)
    return _answer(preview, await _picture(services, found.image) if body.picture else None)


async def _picture(services: Services, address: str | None) -> str | None:
    """A preview without its picture is one too."""
    try:
        return await read_picture(services.outbound, address) if address is not None else None
    except OutboundError:
        return None


def _answer(preview: Preview, picture: str | None) -> CardPreview:
    found, file = preview.found, preview.found.file
    return {
        "source": found.source,
        "path": preview.path,
        "card": preview.text,
        "commands": preview.commands,
        "title": found.title,
        "type": type_of(found.folder),
        "folder": found.folder,
        "folder_is_guess": found.folder_is_guess,
        "file": {"name": file.name, "size": file.size, "sha256": file.sha256} if file is not None else None,
        "choices": [{"file": choice.file, "size": choice.size} for choice in found.choices],
        "url": found.url,
        "version": found.version,
        "basemodel": found.basemodel,
        "license": found.license,
        "creator": found.creator,
        "trigger_words": list(found.trigger_words),
        "image": found.image,
        "picture": picture,
        "missing": [{"setting": each.setting, "message": each.message} for each in found.missing],
        "duplicates": [{"path": d.path, "title": d.title, "why": d.why} for d in preview.duplicates],
        "notes": list(found.notes),
    }
