"""The command line: the service itself, and a client of it. Each command imports what it needs and no more."""

from __future__ import annotations

import asyncio
import gc
import signal
import sys
from importlib.metadata import version
from typing import TYPE_CHECKING, Annotated

import typer

from service.errors import InstallerError

if TYPE_CHECKING:
    from service.config import Settings

cli = typer.Typer(name="resource-installer", no_args_is_help=True, pretty_exceptions_enable=False)


def _show_version(wanted: bool) -> None:
    if wanted:
        print(version("resource-installer"))
        raise typer.Exit


@cli.callback()
def _settings_help(
    _version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Installs AI model files onto rented GPU instances over SSH. Settings come from INSTALLER_… variables."""


# Only this one runs for long: what the client's commands need stays out of its memory.
if sys.argv[1:2] != ["serve"]:
    from service.terminal import commands

    commands.add_to(cli)


@cli.command()
def serve(
    host: Annotated[str | None, typer.Option(help="The address to bind to.")] = None,
    port: Annotated[int | None, typer.Option(help="The port; 0 takes any free one.")] = None,
) -> None:
    """Run the service until it is asked to end (SIGTERM, SIGINT). Installs outlive it."""
    import uvloop

    from service.config import load_settings
    from service.logs import configure_logs

    settings = load_settings(host=host, port=port)
    configure_logs(settings.log_format, settings.log_level, secrets=settings.secrets())
    uvloop.run(_serve(settings))


@cli.command()
def rebuild() -> None:
    """Make the rows of the jobs again from the event log alone. The service must not run meanwhile."""
    count = asyncio.run(_rebuild())
    typer.echo(f"rebuilt {count} jobs from the event log")


@cli.command()
def demo(
    once: Annotated[bool, typer.Option(help="End with the job's exit status.", envvar="ONCE")] = False,
    fail: Annotated[bool, typer.Option(help="Let one of the models be gone (404).", envvar="FAIL")] = False,
) -> None:
    """Install three models on a stand-in instance, with the real civitdl, all on loopback."""
    # The stand-ins need packages of the extra "demo".
    import uvloop
    from rich.console import Console

    from service.demo.run import run_demo

    raise typer.Exit(uvloop.run(run_demo(once=once, fail=fail, console=Console())))


async def _serve(settings: Settings) -> None:
    from service.app import Service

    service = Service(settings)
    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    await service.start()
    # What the imports made stays for good: a full collection over it would hold up every client for 100 ms.
    gc.collect()
    gc.freeze()
    print(f"resource-installer listens on {service.url}", flush=True)
    await ended.wait()
    await service.stop()


async def _rebuild() -> int:
    from service.config import load_settings
    from service.store.database import Database
    from service.store.jobs import rebuild as rebuild_projection

    database = Database(load_settings().database_url)
    await database.open()
    try:
        return await rebuild_projection(database)
    finally:
        await database.close()


def main() -> None:
    """The entry point: errors that are meant for a person end as one line."""
    try:
        cli()
    except InstallerError as error:
        print(f"resource-installer: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
