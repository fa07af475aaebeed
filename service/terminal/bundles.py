"""The commands of selections: save one under a name, and take cards from one library to another as one file."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from service.terminal.completion import complete_cards
from service.terminal.options import DEFAULT_URL, Token, Url, Yes, agreed, run
from service.terminal.printing import say

if TYPE_CHECKING:
    from rich.console import Console

    from service.terminal.client import Client

Cards = Annotated[
    list[str],
    typer.Argument(help="Paths, aliases or AIR names of cards.", autocompletion=complete_cards, metavar="CARD..."),
]


def bundle(
    title: Annotated[str, typer.Argument(help="What the selection is called.")],
    cards: Cards,
    path: Annotated[str | None, typer.Option("--as", help="Where its card shall lie in the library.")] = None,
    url: Url = DEFAULT_URL,
    token: Token = None,
) -> None:
    """Save a selection of cards under a name: a card that has only dependencies.

    resource-installer bundle "Wan 2.1" loras/wan21_fusionx.md upscalers/realesrgan_x4plus.md
    """

    async def work(client: Client, console: Console) -> int:
        import json

        # JSON is YAML: nothing in a title or a name can become another key.
        front = f"title: {json.dumps(title)}\ndependencies: {json.dumps(list(cards))}\n"
        body = {"card": f"---\n{front}---\n", "path": path or _path_of(title)}
        print((await client.call("POST", "/resources", body=body))["path"])
        return 0

    run(url, token, work)


def export_cards(
    cards: Cards,
    output: Annotated[str, typer.Option("--output", "-o", help="The file; - for standard output.")] = "-",
    url: Url = DEFAULT_URL,
    token: Token = None,
) -> None:
    """Write cards, with all that they depend on, as one file.

    resource-installer export bundles/wan_2_1.md -o wan.json
    """

    async def work(client: Client, console: Console) -> int:
        import json
        from urllib.parse import urlencode

        found = await client.call("GET", f"/resources/export?{urlencode([('cards', card) for card in cards])}")
        text = json.dumps(found, indent=2, ensure_ascii=False) + "\n"
        if output == "-":
            sys.stdout.write(text)
        else:
            _write(output, text)
            say(f"{len(found['cards'])} cards written to {output}")
        return 0

    run(url, token, work)


def import_cards(
    source: Annotated[str, typer.Argument(help="A file that export wrote; - for standard input.", metavar="FILE")],
    replace: Annotated[bool, typer.Option("--replace", help="Also replace cards of the library that differ.")] = False,
    yes: Yes = False,
    url: Url = DEFAULT_URL,
    token: Token = None,
) -> None:
    """Save the cards of such a file. Shows what they would run on an instance, and asks.

    resource-installer import wan.json
    """
    given = _read(source)

    async def work(client: Client, console: Console) -> int:
        shown = await client.call("POST", "/resources/import", body={"bundle": given})
        versions = {card["path"]: card["there"] for card in shown["cards"] if card["state"] == "other" and replace}
        for card in shown["cards"]:
            _show(console, card, card["path"] in versions)
        count = len(versions) + sum(card["state"] == "new" for card in shown["cards"])
        if count == 0:
            say("there is nothing to save")
            return 0
        if not agreed(yes, f"Save {count} cards, which run these commands with your keys?"):
            return 1
        # What was shown is what is saved.
        body = {"bundle": given, "confirm": shown["digest"], "replace": versions}
        say((await client.call("POST", "/resources/import", body=body))["message"])
        return 0

    run(url, token, work)


_STATES = {
    "new": "new",
    "same": "is there already",
    "other": "stays: the library has another card at this path (--replace replaces it)",
    "broken": "left out",
}


def _show(console: Console, card: dict[str, Any], is_replaced: bool) -> None:
    from rich.console import Group
    from rich.text import Text

    from service.terminal.text import foreign

    state = "replaces the one that is there" if is_replaced else _STATES[card["state"]]
    parts: list[Any] = [Text.assemble(foreign(card["path"], "bold"), f"  {state}")]
    if card["error"]:
        parts.append(foreign(f"  {card['error']}", "yellow"))
    if card["state"] == "new" or is_replaced:
        lines = card["commands"].splitlines() or [f"installs {', '.join(card['dependencies'])}"]
        parts += [foreign(f"  {line}") for line in lines]
    console.print(Group(*parts), soft_wrap=not console.is_terminal)


def _path_of(title: str) -> str:
    import re

    name = re.sub(r"[^a-z0-9]+", "_", title.lower()).strip("_")
    return f"bundles/{name or 'selection'}.md"


def _read(source: str) -> Any:
    import json
    from pathlib import Path

    try:
        return json.loads(sys.stdin.read() if source == "-" else Path(source).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise typer.BadParameter(f"{source} cannot be read: {error}", param_hint="FILE") from error


def _write(output: str, text: str) -> None:
    from pathlib import Path

    try:
        Path(output).write_text(text, encoding="utf-8")
    except OSError as error:
        raise typer.BadParameter(f"{output} cannot be written: {error}", param_hint="--output") from error
