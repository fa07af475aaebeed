"""The command line: the service itself, and a client for it. Each command imports only what it needs."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Callable
from contextlib import AsyncExitStack
from functools import partial
from importlib.metadata import version
from typing import TYPE_CHECKING, Annotated

import typer

from service.errors import ConfigError, InstallerError
from service.garbage import all_of_it_stays, keep_collections_short
from service.imports import hidden, import_alone

if TYPE_CHECKING:
    from service.app import Service
    from service.store.copying import Copied
    from service.store.database import Database

# How long a busy loop may keep the interpreter lock from the writer, which needs it several times a commit: with
# Python's 5 ms a commit beside a busy loop takes many times as long; with 0.5 ms a loop whose turns are as long gives
# the lock back just before the writer may claim it, and takes it again, for seconds.
SWITCH_SECONDS = 0.0001
COUNTS_SHOWN = 100

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


# `serve` runs for days: keep what the client's commands need out of its memory.
if sys.argv[1:2] != ["serve"]:
    from service.terminal import commands

    commands.add_to(cli)


@cli.command()
def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on; 0 picks a free one.")] = None,
) -> None:
    """Run the service until SIGTERM or Ctrl-C. Installs continue on their instances without it."""
    import uvloop

    # socketio's client would load requests, structlog's tracebacks in colour rich: 8 MB that a server never uses.
    with all_of_it_stays(), hidden("requests", "rich"):
        # Its sessions would load SQLAlchemy's object-relational mapper: 6 MB.
        import_alone("sqlalchemy.ext.asyncio", "engine")
        from service.app import Service
        from service.config import load_settings
        from service.events.redaction import Secrets
        from service.logs import configure_logs

    settings = load_settings(host=host, port=port)
    secrets = Secrets(settings.secrets())
    configure_logs(settings.log_format, settings.log_level, secrets=secrets)
    sys.setswitchinterval(SWITCH_SECONDS)
    uvloop.run(_serve(partial(Service, settings, secrets)))


@cli.command()
def rebuild() -> None:
    """Rebuild the job tables from the event log. Stop the service first."""
    count = asyncio.run(_rebuild())
    typer.echo(f"rebuilt {count} jobs from the event log")


@cli.command()
def copy(
    source: Annotated[str, typer.Option("--from", help="The URL of the database to copy.")],
    target: Annotated[str, typer.Option("--to", help="The URL of the new database.")],
) -> None:
    """Copy the event log to another database, also of another engine. Stop the service first. It may be repeated."""
    copied = asyncio.run(_copy(source, target))
    already = f", of which {copied.skipped} jobs were there already" if copied.skipped else ""
    typer.echo(f"copied and compared: {copied.jobs} jobs, {copied.events} events{already}")


@cli.command()
def demo(
    once: Annotated[bool, typer.Option(help="Exit when the job ends, with its status.", envvar="ONCE")] = False,
    fail: Annotated[bool, typer.Option(help="Make one of the models unavailable (404).", envvar="FAIL")] = False,
) -> None:
    """Install three models on a stand-in instance with the real civitdl. Everything runs on this machine."""
    from importlib.util import find_spec

    missing = [name for name in ("civitdl", "trustme") if find_spec(name) is None]
    if missing:
        raise InstallerError(
            f'the demo needs {" and ".join(missing)}, which the extra "demo" brings: '
            "pip install 'resource-installer[demo]'"
        )
    import uvloop
    from rich.console import Console

    from service.demo.run import run_demo

    raise typer.Exit(uvloop.run(run_demo(once=once, fail=fail, console=Console())))


async def _serve(build: Callable[[], Service]) -> None:
    service = build()
    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    await service.start()
    keep_collections_short()
    print(f"resource-installer listens on {service.url}", flush=True)
    await ended.wait()
    await service.stop()


async def _rebuild() -> int:
    from service.config import load_settings
    from service.store.database import database_of
    from service.store.membership import refuse_if_in_use
    from service.store.rebuild import rebuild as rebuild_projection

    database = database_of(load_settings().database_url)
    await database.open()
    try:
        await refuse_if_in_use(database, "INSTALLER_DATABASE_URL")
        return await rebuild_projection(database)
    finally:
        await database.close()


async def _copy(source: str, target: str) -> Copied:
    from service.store.copying import copy as copy_all
    from service.store.database import database_of

    if source == target:
        raise ConfigError("--from and --to are the same database")
    async with AsyncExitStack() as opened:

        async def open_one(option: str, url: str) -> Database:
            try:
                database = database_of(url)
                await database.open()
            except InstallerError as error:
                raise ConfigError(str(error).replace("INSTALLER_DATABASE_URL", option)) from error
            opened.push_async_callback(database.close)
            return database

        return await copy_all(await open_one("--from", source), await open_one("--to", target), _show_count)


def _show_count(count: int, total: int) -> None:
    if count % COUNTS_SHOWN == 0 or count == total:
        typer.echo(f"{count} of {total} jobs", err=True)


def main() -> None:
    """The entry point. Errors meant for a person are printed as one line."""
    try:
        cli()
    except InstallerError as error:
        print(f"resource-installer: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
