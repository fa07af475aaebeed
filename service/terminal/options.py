"""What all commands have: where the service is, its token, and how an error ends."""

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
# As a shell says it of a program that Ctrl-C ended.
INTERRUPTED_STATUS = 130

Url = Annotated[str, typer.Option("--url", envvar="INSTALLER_URL", help="Where the service listens.")]
Token = Annotated[
    str | None,
    typer.Option(
        "--token", envvar=["INSTALLER_TOKEN", "INSTALLER_API_TOKEN"], show_envvar=True, help="Its token, if it has one."
    ),
]
Job = Annotated[str, typer.Argument(help="The job's id, or its beginning.", autocompletion=complete_jobs)]
Target = Annotated[
    str, typer.Argument(help="A job, or user@host:port for all of an instance.", autocompletion=complete_jobs)
]
AsJson = Annotated[bool, typer.Option("--json", help="As the service says it, for programs.")]


def run(url: str, token: str | None, work: Callable[[Client, Console], Awaitable[int]]) -> None:
    """Do it with a client; ends with its status. Errors go on to the entry point."""
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
        # Whoever read the output has seen enough; what is still in the buffer would fail once more at the exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = 0
    raise typer.Exit(status)
