"""The commands of keys: list them, set one without showing it, check it, remove it; and the service's SSH key."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from service.terminal.options import DEFAULT_URL, AsJson, Token, Url, Yes, agreed, run
from service.terminal.printing import print_json, say

if TYPE_CHECKING:
    from rich.console import Console

    from service.terminal.client import Client

Name = Annotated[str, typer.Argument(help="civitai, huggingface or vast.", metavar="NAME")]
HEADS = ("key", "is set", "since", "setting", "for")

keys = typer.Typer(invoke_without_command=True, no_args_is_help=False)


@keys.callback()
def list_keys(context: typer.Context, as_json: AsJson = False, url: Url = DEFAULT_URL, token: Token = None) -> None:
    """The keys for CivitAI, Hugging Face and Vast.ai, and the service's own SSH key. They count without a restart."""
    if context.invoked_subcommand is not None:
        return

    async def work(client: Client, console: Console) -> int:
        from service.terminal.tables import print_rows

        found = await client.call("GET", "/keys")
        if as_json:
            print_json(found)
            return 0
        rows = [_row(key, key["name"], key["setting"], key["use"], key["source"]) for key in found["keys"]]
        ssh = found["ssh"]
        rows.append(_row(ssh, "ssh", "", ssh["fingerprint"] or "logins at instances", "stored" if ssh["set"] else None))
        print_rows(console, HEADS, rows)
        for each in (*found["keys"], ssh):
            if each["problem"]:
                say(each["problem"])
        return 0

    run(url, token, work)


@keys.command("set")
def set_key(
    name: Name,
    checking: Annotated[bool, typer.Option("--check/--no-check", help="Ask the site whether it accepts it.")] = True,
    url: Url = DEFAULT_URL,
    token: Token = None,
) -> None:
    """Set a key. It is asked for, or read from standard input: a command line is seen by others.

    resource-installer keys set civitai <key.txt
    """
    value = _value(name)

    async def work(client: Client, console: Console) -> int:
        say((await client.call("PUT", f"/keys/{_quoted(name)}", body={"value": value}))["message"])
        return await _checked(client, name) if checking else 0

    run(url, token, work)


@keys.command("check")
def check_key(name: Name, url: Url = DEFAULT_URL, token: Token = None) -> None:
    """Ask the site whether it accepts the key. Exit status: 0 accepted, 1 refused, 2 it did not say."""

    async def work(client: Client, console: Console) -> int:
        return await _checked(client, name)

    run(url, token, work)


@keys.command("rm")
def remove_key(
    name: Annotated[str, typer.Argument(help="civitai, huggingface, vast or ssh.", metavar="NAME")],
    yes: Yes = False,
    url: Url = DEFAULT_URL,
    token: Token = None,
) -> None:
    """Remove a stored key. Installs that run keep what they were given."""

    async def work(client: Client, console: Console) -> int:
        if not agreed(yes, f"Remove the key {name}?"):
            return 1
        say((await client.call("DELETE", f"/keys/{_quoted(name)}"))["message"])
        return 0

    run(url, token, work)


@keys.command("ssh")
def ssh_key(url: Url = DEFAULT_URL, token: Token = None) -> None:
    """Print the public half of the service's own SSH key; if it has none, it makes one."""

    async def work(client: Client, console: Console) -> int:
        found = (await client.call("GET", "/keys"))["ssh"]
        if found["problem"]:
            say(found["problem"])
            return 2
        if not found["set"]:
            found = await client.call("POST", "/keys/ssh")
            say(found["message"])
        print(found["public_key"])
        for each in found["where"]:
            say(each)
        return 0

    run(url, token, work)


async def _checked(client: Client, name: str) -> int:
    found = await client.call("POST", f"/keys/{_quoted(name)}/check")
    say(found["message"])
    return {"accepted": 0, "refused": 1}.get(found["verdict"], 2)


def _row(key: dict[str, Any], name: str, setting: str, use: str, source: str | None) -> list[Any]:
    from service.terminal.text import day_and_clock

    shown = {"environment": "by the environment", "stored": "yes"}.get(source or "", "no")
    shown = "unreadable" if key["problem"] and source == "stored" else shown
    return [name, shown, day_and_clock(key["set_at"]) if key["set_at"] else "", setting, use]


def _value(name: str) -> str:
    if sys.stdin.isatty():
        return str(typer.prompt(f"The key for {name}", hide_input=True, err=True)).strip()
    return sys.stdin.readline().strip()


def _quoted(name: str) -> str:
    from urllib.parse import quote

    return quote(name, safe="")
