"""What all commands share: the service's address, its token, and how they run and exit."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Annotated

import typer

from service.terminal.completion import complete_jobs

if TYPE_CHECKING:
    from rich.console import Console

    from service.terminal.client import Client

DEFAULT_URL = "http://127.0.0.1:5000"
# What a shell reports for a program that Ctrl-C ended.
INTERRUPTED_STATUS = 130

Url = Annotated[str, typer.Option("--url", envvar="INSTALLER_URL", help="Address of the service.")]
Token = Annotated[
    str | None,
    typer.Option(
        "--token",
        envvar=["INSTALLER_TOKEN", "INSTALLER_API_TOKEN"],
        show_envvar=True,
        help="Token of the service, if it has one.",
    ),
]
Job = Annotated[str, typer.Argument(help="The job's id, or the beginning of it.", autocompletion=complete_jobs)]
Target = Annotated[
    str, typer.Argument(help="A job, or user@host:port for all jobs of an instance.", autocompletion=complete_jobs)
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the service's answer as JSON, for programs.")]


def run(url: str, token: str | None, work: Callable[[Client, Console], Awaitable[int]]) -> None:
    """Run ``work`` with a client and exit with the status that it returns. The entry point handles its errors."""
    from rich.console import Console

    from service.terminal.client import Client

    async def with_client() -> int:
        async with Client(url, token) as client:
            return await work(client, Console(highlight=False))

    try:
        status = asyncio.run(with_client())
    except KeyboardInterrupt:
        status = INTERRUPTED_STATUS
    except BrokenPipeError:
        # The reader closed the pipe (`… | head`). Flushing the rest at exit would fail again, so send it nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = 0
    raise typer.Exit(status)


def agreed(yes: bool, question: str) -> bool:
    """Whether a person says yes. Raises BadParameter where nobody is there to ask."""
    from service.terminal.text import harmless

    if yes:
        return True
    if not sys.stdin.isatty():
        raise typer.BadParameter(f"{harmless(question)} Nobody is there to ask: say --yes")
    return typer.confirm(harmless(question), err=True)
