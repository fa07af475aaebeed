"""Cards that travel as one file: export them, look at a file, and import what was looked at. And where a card was
installed."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence

import orjson
from aiohttp import web

from service.errors import FieldError, InvalidRequest, RequestError
from service.events.recorded_event import rfc3339
from service.library.bundles import FORMAT, BundledCard, Incoming, collect, compare, digest_of, save
from service.store.card_jobs import CardInstall, installs_of
from service.web.bundle_answers import Bundle, CardInstalls, CardInstallView, Import, ImportedCard
from service.web.bundle_requests import ImportRequest
from service.web.handlers.cards import TAKEN
from service.web.services import Services

FILE_NAME = "cards.json"


async def export_cards(services: Services, *, cards: Sequence[str] | None) -> Bundle | web.Response:
    if not cards:
        raise _wrong("cards", "is missing: name at least one card, ?cards=loras/x.md&cards=…")
    try:
        found = await asyncio.to_thread(collect, services.library, services.editor, cards)
    except RequestError as error:
        error.errors = tuple(FieldError(e.field.replace("resources", "cards", 1), e.message) for e in error.errors)
        raise
    bundle: Bundle = {"format": FORMAT, "cards": [{"path": card.path, "card": card.text} for card in found]}
    return web.Response(
        body=orjson.dumps(bundle, option=orjson.OPT_INDENT_2),
        content_type="application/json",
        headers={"Content-Disposition": f'attachment; filename="{FILE_NAME}"'},
    )


async def import_cards(services: Services, *, body: ImportRequest) -> Import:
    """Without ``confirm`` nothing is changed."""
    cards = [BundledCard(path=card.path, text=card.card) for card in body.bundle.cards]
    if len({card.path for card in cards}) < len(cards):
        raise _wrong("bundle", "has two cards at one path")
    digest = digest_of(cards)
    if body.confirm is not None and body.confirm != digest:
        raise _wrong("confirm", "is not the digest of these cards: look at them again, then confirm what was shown")
    incoming = await asyncio.to_thread(compare, services.library, services.editor, cards, TAKEN)
    unknown = sorted(set(body.replace) - {card.path for card in cards})
    if unknown:
        raise _wrong("replace", f'names "{unknown[0][:80]}", which is not in the bundle')
    if body.confirm is None:
        message = "nothing was changed: look at the commands, then send the digest as confirm"
        return _answer(incoming, digest, message, is_saved=False)
    saved = await asyncio.to_thread(save, services.editor, incoming, body.replace)
    message = f"{len(saved)} of {len(cards)} cards saved"
    return _answer(incoming, digest, message, is_saved=True, saved=saved.keys())


async def list_installs(services: Services, *, path: str, limit: int) -> CardInstalls:
    """Also of a card that is gone: the jobs are there."""
    found = await installs_of(services.database, path, limit)
    return {"path": path, "installs": [_installed(each) for each in found]}


def _installed(found: CardInstall) -> CardInstallView:
    return {
        "job_id": found.job_id,
        "instance": found.instance,
        "ui_home": found.ui_home,
        "state": found.state,
        "verified": found.verified,
        "cause": found.cause,
        "card_sha256": found.card_sha256,
        "started_at": rfc3339(found.started_at_ms) if found.started_at_ms is not None else None,
        "ended_at": rfc3339(found.ended_at_ms) if found.ended_at_ms is not None else None,
    }


def _answer(
    incoming: Sequence[Incoming], digest: str, message: str, *, is_saved: bool, saved: Collection[str] = ()
) -> Import:
    return {
        "success": True,
        "message": message,
        "saved": is_saved,
        "digest": digest,
        "cards": [_view(card, card.path in saved) for card in incoming],
    }


def _view(incoming: Incoming, is_saved: bool) -> ImportedCard:
    card = incoming.card
    state = ("saved" if incoming.state == "new" else "replaced") if is_saved else incoming.state
    return {
        "path": incoming.path,
        "title": card.title if card is not None else None,
        "state": state,
        "commands": card.script if card is not None else "",
        "dependencies": list(card.dependencies) if card is not None else [],
        "there": incoming.there if state == "other" else None,
        "error": incoming.error,
    }


def _wrong(field: str, message: str) -> InvalidRequest:
    return InvalidRequest(f"{field}: {message}", [FieldError(field, message)])
