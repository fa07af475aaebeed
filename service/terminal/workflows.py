"""The commands of workflows: which models one needs, cards for those that are missing; and the catalogue."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from service.terminal.options import DEFAULT_URL, AsJson, Token, Url, Yes, agreed, run
from service.terminal.printing import print_json, say

if TYPE_CHECKING:
    from rich.console import Console

    from service.terminal.client import Client

NEED_HEADS = ("model", "", "folder", "card or address")
CATALOGUE_HEADS = ("file", "name", "base", "folder", "size", "address")
FILE_BYTES_MAX = 1_000_000
_STATES = {"in_library": "in the library", "missing": "missing", "unknown": "no address", "refused": "refused"}
_STYLES = {"in_library": "green", "missing": "yellow", "unknown": "red", "refused": "red"}


def workflow(
    file: Annotated[str, typer.Argument(help="A workflow's JSON; - for standard input.", metavar="FILE")],
    adding: Annotated[
        bool, typer.Option("--add", help="Make cards for those that are missing, after a question.")
    ] = False,
    yes: Yes = False,
    as_json: AsJson = False,
    url: Url = DEFAULT_URL,
    token: Token = None,
) -> None:
    """Which models a workflow of ComfyUI needs. With --add: cards for the rest; prints the cards of all, for install.

    resource-installer install "ssh …" $(resource-installer workflow flow.json --add --yes)
    """
    text = _text(file)

    async def work(client: Client, console: Console) -> int:
        found = (await client.call("POST", "/workflows/inspect", body={"workflow": text}))["models"]
        if as_json:
            print_json(found)
            return 0
        if not adding:
            _print_needs(console, found)
            return 0 if all(each["state"] == "in_library" for each in found) else 1
        return await _add(client, found, yes)

    run(url, token, work)


def catalogue(
    words: Annotated[list[str] | None, typer.Argument(help="Words that all stand in an entry.")] = None,
    refresh: Annotated[bool, typer.Option("--refresh", help="Read it anew from its file or address.")] = False,
    limit: Annotated[int, typer.Option(help="At most so many.", min=1, max=500)] = 50,
    as_json: AsJson = False,
    url: Url = DEFAULT_URL,
    token: Token = None,
) -> None:
    """Search the catalogue of models; `add` makes a card of an address."""

    async def work(client: Client, console: Console) -> int:
        from service.terminal.tables import print_rows

        if refresh:
            found = await client.call("POST", "/catalogue/refresh")
            say(f"{found['count']} models from {found['source']}")
        found = await client.call("GET", "/catalogue", query={"search": " ".join(words or []), "limit": limit})
        if as_json:
            print_json(found)
            return 0
        if found["refreshed_at"] is None:
            say("the catalogue was not read yet: say --refresh")
        names = ("filename", "name", "base", "folder", "size", "url")
        print_rows(console, CATALOGUE_HEADS, ([each[name] for name in names] for each in found["entries"]))
        return 0

    run(url, token, work)


async def _add(client: Client, needs: list[dict[str, Any]], yes: bool) -> int:
    """Each card is of an address that was shown; what cannot be added is said, and the others are."""
    from service.terminal.client import ClientError

    missing = [each for each in needs if each["state"] == "missing"]
    for each in missing:
        say(f"{each['name']}: {each['url']} to models/{each['folder'] or '(by its name)'}")
    if missing and not agreed(yes, f"Make {len(missing)} card{'' if len(missing) == 1 else 's'} of these?"):
        return 1
    cards, failures = [each["card"] for each in needs if each["state"] == "in_library"], 0
    for each in missing:
        body = {"url": each["url"], **({"folder": each["folder"]} if each["folder"] else {})}
        try:
            cards.append((await client.call("POST", "/resources", body=body))["path"])
        except ClientError as error:
            failures += 1
            say(f"{each['name']}: {error}")
    for each in needs:
        if each["state"] in ("unknown", "refused"):
            failures += 1
            say(f"{each['name']}: {each['reason'] or 'nobody says where it comes from: add it from a link'}")
    for card in dict.fromkeys(cards):
        print(card)
    return 1 if failures else 0


def _print_needs(console: Console, needs: list[dict[str, Any]]) -> None:
    from rich.text import Text

    from service.terminal.tables import print_rows

    rows = (
        [
            each["name"],
            Text(_STATES[each["state"]], _STYLES[each["state"]]),
            each["folder"],
            each["card"] or each["url"] or each["reason"],
        ]
        for each in needs
    )
    print_rows(console, NEED_HEADS, rows)


def _text(file: str) -> str:
    from pathlib import Path

    try:
        if file != "-" and Path(file).stat().st_size > FILE_BYTES_MAX:
            raise typer.BadParameter(f"{file} has more than {FILE_BYTES_MAX} bytes: no workflow is that long")
        return sys.stdin.read(FILE_BYTES_MAX + 1) if file == "-" else Path(file).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise typer.BadParameter(f"{file} cannot be read: {error}", param_hint="FILE") from error
