"""Cards as one file over HTTP: what was shown is what is saved, and nothing is replaced that was not seen."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from service.library.bundles import FORMAT
from tests.kit.running import card_text, write_card
from tests.web.test_cards import Api, serving

TEXT = card_text("a", "echo a")
BUNDLE = "---\ntitle: Both\ndependencies: [a.md, deep/b.md]\n---\n"


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    async with serving(tmp_path) as started:
        yield started


def file_of(*cards: tuple[str, str]) -> dict[str, Any]:
    return {"format": FORMAT, "cards": [{"path": path, "card": text} for path, text in cards]}


async def look(api: Api, bundle: dict[str, Any], **more: Any) -> Any:
    status, answer, _ = await api("POST", "/resources/import", {"bundle": bundle, **more})
    assert status == 200, answer
    return answer


async def test_a_selection_goes_from_one_library_to_another(tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    for folder in (here, there):
        folder.mkdir()
    write_card(here, "a.md", "echo a", "aliases: [the a]\n")
    write_card(here, "deep/b.md", "echo b", "dependencies: [the a]\n")
    write_card(here, "other.md")
    async with serving(here) as api:
        assert (await api("POST", "/resources", {"path": "bundles/both.md", "card": BUNDLE}))[0] == 201
        status, bundle, headers = await api("GET", "/resources/export?cards=bundles/both.md")
        assert (status, headers["Content-Disposition"]) == (200, 'attachment; filename="cards.json"')
        assert [card["path"] for card in bundle["cards"]] == ["a.md", "deep/b.md", "bundles/both.md"]
    async with serving(there) as api:
        shown = await look(api, bundle)
        assert (shown["saved"], api.files()) == (False, [])
        assert [(card["state"], card["commands"]) for card in shown["cards"]] == [
            ("new", "echo a\n"),
            ("new", "echo b\n"),
            ("new", ""),
        ]
        saved = await look(api, bundle, confirm=shown["digest"])
        assert (saved["saved"], {card["state"] for card in saved["cards"]}) == (True, {"saved"})
        assert api.files() == ["a.md", "bundles/both.md", "deep/b.md"]
        for path in api.files():
            assert (there / "resources" / path).read_bytes() == (here / "resources" / path).read_bytes()
        assert {card["state"] for card in (await look(api, bundle))["cards"]} == {"same"}


async def test_only_what_was_shown_is_saved(api: Api) -> None:
    shown = await look(api, file_of(("a.md", TEXT)))
    for other in (file_of(("a.md", TEXT + "more")), file_of(("b.md", TEXT)), file_of(("a.md", TEXT), ("b.md", TEXT))):
        body = {"bundle": other, "confirm": shown["digest"]}
        assert await api.refused("POST", "/resources/import", body) == (400, "invalid", ["confirm"])
    assert api.files() == []


async def test_nothing_is_replaced_that_was_not_seen(api: Api, tmp_path: Path) -> None:
    write_card(tmp_path, "a.md", "echo mine")
    mine = (api.cards / "a.md").read_bytes()
    bundle = file_of(("a.md", TEXT), ("b.md", TEXT))
    shown = await look(api, bundle)
    assert [card["state"] for card in shown["cards"]] == ["other", "new"]
    # Confirmed without a word about the first: it stays.
    kept = await look(api, bundle, confirm=shown["digest"])
    assert [card["state"] for card in kept["cards"]] == ["other", "saved"]
    assert (api.cards / "a.md").read_bytes() == mine
    # Changed since it was shown.
    write_card(tmp_path, "a.md", "echo mine, and changed")
    replace = {"a.md": shown["cards"][0]["there"]}
    body = {"bundle": bundle, "confirm": shown["digest"], "replace": replace}
    assert (await api.refused("POST", "/resources/import", body))[:2] == (412, "changed")
    replace = {"a.md": (await look(api, bundle))["cards"][0]["there"]}
    replaced = await look(api, bundle, confirm=shown["digest"], replace=replace)
    assert [card["state"] for card in replaced["cards"]] == ["replaced", "same"]
    assert (api.cards / "a.md").read_text() == TEXT


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("../a.md", TEXT),
        ("/etc/a.md", TEXT),
        ("a/../../b.md", TEXT),
        (".hidden.md", TEXT),
        ("jobs/a.md", TEXT),
        ("a.sh", TEXT),
        ("a\n.md", TEXT),
        ("README.md", TEXT),
        ("a.md", "---\ntitle: [\n---\n"),
    ],
)
async def test_what_can_be_no_card_is_left_out_and_harms_no_other(api: Api, path: str, text: str) -> None:
    bundle = file_of((path, text), ("good.md", TEXT))
    shown = await look(api, bundle)
    assert [card["state"] for card in shown["cards"]] == ["broken", "new"]
    assert shown["cards"][0]["error"]
    await look(api, bundle, confirm=shown["digest"])
    assert api.files() == ["good.md"]
    assert list(api.cards.parent.rglob("*.md")) == [api.cards / "good.md"]


async def test_a_link_in_the_folder_leads_nowhere(api: Api, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (api.cards / "out").symlink_to(outside)
    bundle = file_of(("out/a.md", TEXT))
    shown = await look(api, bundle)
    assert shown["cards"][0]["state"] == "broken"
    await look(api, bundle, confirm=shown["digest"])
    assert list(outside.iterdir()) == []


async def test_refusals_name_what_is_wrong(api: Api, tmp_path: Path) -> None:
    write_card(tmp_path, "a.md")
    for path, field in (("", "cards"), ("?cards=a.md&cards=a.md", "cards[1]"), ("?cards=../x.md", "cards[0]")):
        assert await api.refused("GET", f"/resources/export{path}") == (400, "invalid", [field])
    assert await api.refused("GET", "/resources/export?cards=none.md") == (404, "not_found", ["cards[0]"])
    whole = file_of(("b.md", TEXT))
    for body, field in (
        ({"bundle": {**whole, "format": "other"}}, "bundle.format"),
        ({"bundle": {**whole, "start": True}}, "bundle.start"),
        ({"bundle": file_of(("b.md", TEXT), ("b.md", TEXT))}, "bundle"),
        ({"bundle": whole, "confirm": "x"}, "confirm"),
        ({"bundle": whole, "replace": {"z.md": "0" * 64}}, "replace"),
        ({"bundle": {"format": FORMAT, "cards": []}}, "bundle.cards"),
        ({"bundle": file_of(("\ud800.md", TEXT))}, "bundle.cards[0].path"),
        ({"bundle": file_of(("a.md", "\ud800"))}, "bundle.cards[0].card"),
    ):
        assert await api.refused("POST", "/resources/import", body) == (400, "invalid", [field])


async def test_a_read_only_library_shows_and_saves_nothing(tmp_path: Path) -> None:
    async with serving(tmp_path, cards_read_only=True) as api:
        shown = await look(api, file_of(("a.md", TEXT)))
        body = {"bundle": file_of(("a.md", TEXT)), "confirm": shown["digest"]}
        assert (await api.refused("POST", "/resources/import", body))[:2] == (409, "read_only")


async def test_two_imports_at_once_save_each_card_once(api: Api) -> None:
    bundle = file_of(*((f"c{n}.md", TEXT) for n in range(20)))
    digest = (await look(api, bundle))["digest"]
    bodies = [{"bundle": bundle, "confirm": digest} for _ in range(4)]
    answers = await asyncio.gather(*(api("POST", "/resources/import", body) for body in bodies))
    assert {status for status, _, _ in answers} <= {200, 409}
    assert len(api.files()) == 20
