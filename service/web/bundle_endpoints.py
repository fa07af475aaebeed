"""The endpoints of cards that travel as one file, and of where a card was installed."""

from __future__ import annotations

from service.store.jobs import LIST_MAX
from service.web import bundle_answers as answers
from service.web.bundle_requests import ImportRequest
from service.web.endpoint import Endpoint
from service.web.handlers import bundles
from service.web.parameters import number, part, texts
from service.web.requests import CARD_PATH_SCHEMA

_EXAMPLE = {
    "bundle": {
        "format": "resource-installer-cards-1",
        "cards": [
            {"path": "bundles/mine.md", "card": "---\ntitle: Mine\ndependencies: [loras/wan21_fusionx.md]\n---\n"}
        ],
    }
}

CARD = part(
    "path",
    CARD_PATH_SCHEMA,
    "The card's path in the library; slashes are part of it.",
    example="checkpoints/flux_schnell.md",
    route=r".+\.md",
)

BUNDLE_ENDPOINTS = (
    Endpoint(
        method="get",
        path="/resources/{path}/installs",
        handler=bundles.list_installs,
        summary="Where a card was installed, the newest first",
        note="From the jobs that are still kept; also of a card that was deleted since.",
        answer=answers.CardInstalls,
        parameters=(CARD, number("limit", 1, LIST_MAX, 50, "Jobs, the newest.")),
        errors=(400, 404),
    ),
    Endpoint(
        method="get",
        path="/resources/export",
        handler=bundles.export_cards,
        summary="Cards as one file, with all that they depend on",
        answer=answers.Bundle,
        parameters=(texts("cards", "cards", "A card's path, alias or AIR; may be given several times."),),
        errors=(400, 404),
    ),
    Endpoint(
        method="post",
        path="/resources/import",
        handler=bundles.import_cards,
        summary="Look at the cards of such a file, then save them",
        note="Without `confirm` it changes nothing and answers what each card would run; with the `digest` of that "
        "answer as `confirm` it saves the new ones. A card that is there stays, unless `replace` names it with the "
        "version that was shown.",
        answer=answers.Import,
        body=ImportRequest,
        example=_EXAMPLE,
        errors=(400, 409, 412, 413, 415),
    ),
)
