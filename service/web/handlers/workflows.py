"""What a workflow needs, and the catalogue of models."""

from __future__ import annotations

import asyncio

from service.events.recorded_event import rfc3339
from service.library import Resource
from service.web.services import Services
from service.web.workflow_answers import CatalogueEntry, CataloguePage, InspectedWorkflow, NeededModel
from service.web.workflow_requests import WorkflowRequest
from service.workflows import Entry, Need, needs_of, read_workflow

SHOWN_MAX = 50


async def inspect_workflow(services: Services, *, body: WorkflowRequest) -> InspectedWorkflow:
    # In a thread: a long workflow, and all cards, take a while.
    needs = await asyncio.to_thread(_needs, services, body.workflow)
    return {"models": [_need(each) for each in needs]}


async def search_catalogue(services: Services, *, search: str | None, limit: int) -> CataloguePage:
    found = await asyncio.to_thread(services.catalogue.search, (search or "")[:200], limit)
    return _page(services, found)


async def refresh_catalogue(services: Services) -> CataloguePage:
    await services.catalogue.refresh()
    return _page(services, services.catalogue.search("", SHOWN_MAX))


def _needs(services: Services, text: str) -> list[Need]:
    models = read_workflow(text)
    cards = (card for card in services.library.all() if isinstance(card, Resource))
    return needs_of(models, cards, services.catalogue)


def _need(need: Need) -> NeededModel:
    return {
        "name": need.name,
        "state": need.state,
        "folder": need.folder,
        "url": need.url,
        "sha256": need.sha256,
        "card": need.card,
        "node": need.node,
        "source": need.source,
        "reason": need.reason,
    }


def _page(services: Services, entries: list[Entry]) -> CataloguePage:
    at_ms = services.catalogue.refreshed_at_ms
    return {
        "source": services.catalogue.source,
        "count": len(services.catalogue.entries),
        "refreshed_at": rfc3339(at_ms) if at_ms is not None else None,
        "entries": [_entry(entry) for entry in entries],
    }


def _entry(entry: Entry) -> CatalogueEntry:
    return {
        "name": entry.name,
        "filename": entry.filename,
        "url": entry.url,
        "folder": entry.folder,
        "type": entry.type,
        "base": entry.base,
        "size": entry.size,
    }
