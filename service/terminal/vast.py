"""The commands of the user's instances at Vast.ai."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from service.terminal.options import DEFAULT_URL, AsJson, Token, Url, Yes, agreed, run
from service.terminal.printing import print_json, say

if TYPE_CHECKING:
    from rich.console import Console

    from service.terminal.client import Client

HEADS = ("id", "label", "GPU", "$/h", "status", "disk", "ssh line", "installs")
Number = Annotated[int, typer.Argument(help="The instance's number.", metavar="ID", min=0)]

vast = typer.Typer(invoke_without_command=True, no_args_is_help=False)


@vast.callback()
def list_rented(context: typer.Context, as_json: AsJson = False, url: Url = DEFAULT_URL, token: Token = None) -> None:
    """List your instances at Vast.ai, each with the line that `install` takes."""
    if context.invoked_subcommand is not None:
        return

    async def work(client: Client, console: Console) -> int:
        from service.terminal.tables import print_rows

        found = await client.call("GET", "/vast/instances")
        if as_json:
            print_json(found)
        else:
            print_rows(console, HEADS, map(_row, found["instances"]))
        return 0

    run(url, token, work)


@vast.command("stop")
def stop_rented(number: Number, yes: Yes = False, url: Url = DEFAULT_URL, token: Token = None) -> None:
    """Stop an instance: its data stays. Only if the service lets you (INSTALLER_VAST_ALLOW_STOP)."""
    _change(number, "POST", f"/vast/instances/{number}/stop", f"Stop the instance {number}?", yes, url, token)


@vast.command("destroy")
def destroy_rented(number: Number, yes: Yes = False, url: Url = DEFAULT_URL, token: Token = None) -> None:
    """Destroy an instance with all of its data. Only if the service lets you (INSTALLER_VAST_ALLOW_STOP)."""
    question = f"Destroy the instance {number} with all of its data?"
    _change(number, "DELETE", f"/vast/instances/{number}", question, yes, url, token)


def _change(number: int, method: str, path: str, question: str, yes: bool, url: str, token: str | None) -> None:
    async def work(client: Client, console: Console) -> int:
        if not agreed(yes, question):
            return 1
        say((await client.call(method, path))["message"])
        return 0

    run(url, token, work)


def _row(each: dict[str, Any]) -> list[Any]:
    from service.terminal.text import byte_count

    count = f"{each['gpu_count']}x " if (each["gpu_count"] or 1) > 1 else ""
    used = f"{byte_count(each['disk_used'])} of " if each["disk_used"] is not None else ""
    address = f"ssh -p {each['ssh_port']} {each['ssh_user']}@{each['ssh_host']}" if each["ssh_host"] else ""
    return [
        str(each["id"]),
        each["label"],
        count + (each["gpu"] or ""),
        "" if each["dollars_per_hour"] is None else f"{each['dollars_per_hour']:.3f}",
        each["status"],
        used + byte_count(each["disk_total"]) if each["disk_total"] is not None else "",
        address,
        str(each["active"]) if each["active"] else "",
    ]
