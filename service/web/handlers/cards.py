"""The library of resource cards."""

from __future__ import annotations

import asyncio
from typing import cast

from service.errors import InvalidRequest, UnknownResource
from service.library import BrokenCard, Resource
from service.web.answers import Cards, CardView, CardWithScript
from service.web.services import Services


async def list_cards(services: Services) -> Cards:
    cards = await asyncio.to_thread(services.library.all)
    return {
        "resources": [cast(CardView, card.to_dict()) for card in cards if isinstance(card, Resource)],
        "broken": [{"path": card.path, "error": card.error} for card in cards if isinstance(card, BrokenCard)],
    }


async def show_card(services: Services, *, path: str) -> CardWithScript:
    try:
        card = await asyncio.to_thread(services.library.get, path)
    except InvalidRequest as error:
        # A path that no card can have names no card.
        raise UnknownResource(error.message) from error
    return cast(CardWithScript, {**card.to_dict(), "download": card.script})
