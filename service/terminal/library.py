"""The commands that change the library: add a card from a link, edit one, delete one."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from service.terminal.completion import complete_cards
from service.terminal.options import DEFAULT_URL, Token, Url, Yes, agreed, run
from service.terminal.printing import say

if TYPE_CHECKING:
    from rich.console import Console

    from service.terminal.client import Client

CardPath = Annotated[
    str, typer.Argument(help="The card's path in the library.", autocompletion=complete_cards, metavar="CARD")
]


def add(
    link: Annotated[
        str,
        typer.Argument(help="A CivitAI page, an AIR, a Hugging Face file or repository, or a file's address."),
    ],
    path: Annotated[str | None, typer.Option("--as", help="Where the card shall lie in the library.")] = None,
    file: Annotated[str | None, typer.Option(help="Which file of a repository.")] = None,
    folder: Annotated[str | None, typer.Option(help="Folder below ComfyUI's models/, like loras.")] = None,
    yes: Yes = False,
    url: Url = DEFAULT_URL,
    token: Token = None,
) -> None:
    """Make a card of a link. Shows what it would run on an instance, and asks.

    resource-installer add "https://civitai.com/models/1678575?modelVersionId=1900322"
    """
    wanted = {"url": link, "path": path, "file": file, "folder": folder}

    async def work(client: Client, console: Console) -> int:
        from service.terminal.tables import preview_lines

        body = {name: value for name, value in wanted.items() if value is not None}
        preview = await client.call("POST", "/resources/preview", body=body)
        console.print(preview_lines(preview), soft_wrap=not console.is_terminal)
        if preview["card"] is None:
            say("name one of these files with --file")
            return 2
        if not agreed(yes, f"Save it as {preview['path']}?"):
            return 1
        # What was shown is what is saved.
        saved = await client.call("POST", "/resources", body={"card": preview["card"], "path": preview["path"]})
        print(saved["path"])
        return 0

    run(url, token, work)


def edit(
    card: CardPath,
    source: Annotated[
        str | None, typer.Option("--from", help="Take the text from this file (- for standard input), not an editor.")
    ] = None,
    url: Url = DEFAULT_URL,
    token: Token = None,
) -> None:
    """Edit a card in your editor (VISUAL or EDITOR)."""

    async def work(client: Client, console: Console) -> int:
        from service.terminal.client import ClientError

        before, etag = await client.text(_address(card))
        text = _edited(before) if source is None else _read(source)
        if text == before:
            say("nothing was changed")
            return 0
        try:
            await client.call("PUT", _address(card), body={"card": text}, headers={"If-Match": etag})
        except ClientError:
            if source is None:
                say(f"your text is kept in {_keep(text)}: give it again with --from")
            raise
        say("saved")
        return 0

    run(url, token, work)


def rm(card: CardPath, yes: Yes = False, url: Url = DEFAULT_URL, token: Token = None) -> None:
    """Delete a card. What it installed stays."""

    async def work(client: Client, console: Console) -> int:
        _, etag = await client.text(_address(card))
        if not agreed(yes, f"Delete {card}?"):
            return 1
        say((await client.call("DELETE", _address(card), headers={"If-Match": etag}))["message"])
        return 0

    run(url, token, work)


def _address(card: str) -> str:
    from urllib.parse import quote

    return f"/resources/{quote(card)}"


def _edited(text: str) -> str:
    """The text as it is when the editor ends; the same if nothing was saved."""
    import click

    found = click.edit(text, extension=".md")
    return text if found is None else str(found)


def _read(source: str) -> str:
    from pathlib import Path

    try:
        return sys.stdin.read() if source == "-" else Path(source).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise typer.BadParameter(f"{source} cannot be read: {error}", param_hint="--from") from error


def _keep(text: str) -> str:
    import tempfile

    with tempfile.NamedTemporaryFile("w", suffix=".md", prefix="card-", delete=False, encoding="utf-8") as kept:
        kept.write(text)
    return kept.name
