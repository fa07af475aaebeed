"""The commands of receivers: who is told how jobs end."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from service.terminal.options import DEFAULT_URL, AsJson, Token, Url, Yes, agreed, run
from service.terminal.printing import print_json, say

if TYPE_CHECKING:
    from rich.console import Console

    from service.terminal.client import Client

HEADS = ("id", "name", "address", "events", "waiting", "last")
Receiver = Annotated[str, typer.Argument(help="The receiver's id, or the beginning of it.", metavar="RECEIVER")]

receivers = typer.Typer(invoke_without_command=True, no_args_is_help=False)


@receivers.callback()
def list_receivers(
    context: typer.Context, as_json: AsJson = False, url: Url = DEFAULT_URL, token: Token = None
) -> None:
    """Who is told how jobs end: webhooks, ntfy, Discord, Telegram, mail."""
    if context.invoked_subcommand is not None:
        return

    async def work(client: Client, console: Console) -> int:
        from service.terminal.tables import print_rows

        found = await client.call("GET", "/receivers")
        if as_json:
            print_json(found)
        else:
            print_rows(console, HEADS, (_row(each, not console.is_terminal) for each in found["receivers"]))
        return 0

    run(url, token, work)


@receivers.command("add")
def add_receiver(
    address: Annotated[
        str, typer.Argument(help="https://… of a webhook, or an address of Apprise; - reads it from standard input.")
    ],
    name: Annotated[str | None, typer.Option(help="How it is called in lists.")] = None,
    events: Annotated[
        list[str] | None,
        typer.Option("--on", help="completed, failed, cancelled, stalled or instance_lost; all by default."),
    ] = None,
    secret: Annotated[
        bool, typer.Option("--secret", help="Ask for the secret of a webhook. Without it the service makes one.")
    ] = False,
    url: Url = DEFAULT_URL,
    token: Token = None,
) -> None:
    """Tell somebody how jobs end. Prints the secret that webhooks are signed with, this once.

    resource-installer receivers add https://hooks.example/installs --on failed --on instance_lost
    """
    given = sys.stdin.readline().strip() if address == "-" else address
    wanted: dict[str, Any] = {"url": given, "name": name, "events": events or None}
    wanted["secret"] = typer.prompt("secret", hide_input=True, err=True) if secret else None

    async def work(client: Client, console: Console) -> int:
        body = {key: value for key, value in wanted.items() if value is not None}
        added = await client.call("POST", "/receivers", body=body)
        say(f"{added['receiver_id']} {added['message']}")
        if added["secret"] is not None:
            say("its secret, which is not shown again:")
            print(added["secret"])
        return 0

    run(url, token, work)


@receivers.command("test")
def check_receiver(receiver: Receiver, url: Url = DEFAULT_URL, token: Token = None) -> None:
    """Send a test. Exit status: 0 the receiver took it, 1 it did not."""

    async def work(client: Client, console: Console) -> int:
        found = await client.call("POST", f"/receivers/{await _id(client, receiver)}/test")
        say(found["message"])
        return 0 if found["delivered"] else 1

    run(url, token, work)


@receivers.command("rm")
def remove_receiver(receiver: Receiver, yes: Yes = False, url: Url = DEFAULT_URL, token: Token = None) -> None:
    """Tell a receiver nothing more."""

    async def work(client: Client, console: Console) -> int:
        receiver_id = await _id(client, receiver)
        if not agreed(yes, f"Delete the receiver {receiver_id}?"):
            return 1
        say((await client.call("DELETE", f"/receivers/{receiver_id}"))["message"])
        return 0

    run(url, token, work)


async def _id(client: Client, name: str) -> str:
    from service.terminal.client import ClientError

    found = [each["receiver_id"] for each in (await client.call("GET", "/receivers"))["receivers"]]
    fitting = [each for each in found if name and each.startswith(name.lower())]
    if len(fitting) != 1:
        how_many = "no receiver begins" if not fitting else f"{len(fitting)} receivers begin"
        raise ClientError(f'{how_many} with "{name}": list them with `resource-installer receivers`')
    return str(fitting[0])


def _row(receiver: dict[str, Any], whole_id: bool) -> tuple[Any, ...]:
    last = receiver["last"]
    told = "" if last is None else f"{last['event']} {last['state']}" + (f": {last['error']}" if last["error"] else "")
    return (
        receiver["receiver_id"] if whole_id else receiver["receiver_id"][:8],
        receiver["name"],
        receiver["address"],
        ", ".join(receiver["events"]),
        str(receiver["pending"]),
        told,
    )
