"""The client's commands that start and control jobs. Heavy imports happen only when a command runs."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand

from service.terminal.bundles import bundle, export_cards, import_cards
from service.terminal.completion import complete_cards
from service.terminal.instances import check, instances, models
from service.terminal.keys import keys
from service.terminal.library import add, edit, rm
from service.terminal.options import DEFAULT_URL, Job, Target, Token, Url, run
from service.terminal.printing import say
from service.terminal.reading import cards, events, failures, jobs, replicas, report
from service.terminal.receivers import receivers
from service.terminal.vast import vast
from service.terminal.workflows import catalogue, workflow

if TYPE_CHECKING:
    from rich.console import Console

    from service.terminal.client import Client

PANEL = "Client"


def add_to(cli: typer.Typer) -> None:
    jobs_first = (install, jobs, watch, pause, resume, cancel, retry, move, events, report, failures, replicas)
    for command in (*jobs_first, cards, add, edit, rm, check, instances, models, workflow, catalogue):
        cli.command(rich_help_panel=PANEL, cls=_InstallCommand if command is install else None)(command)
    cli.add_typer(keys, name="keys", rich_help_panel=PANEL)
    cli.add_typer(vast, name="vast", rich_help_panel=PANEL)
    cli.command("bundle", rich_help_panel=PANEL)(bundle)
    cli.command("export", rich_help_panel=PANEL)(export_cards)
    cli.command("import", rich_help_panel=PANEL)(import_cards)
    cli.add_typer(receivers, name="receivers", rich_help_panel=PANEL)


class _InstallCommand(TyperCommand):
    """Finds an ssh line without quotes before its own options (``-p``) are taken for the command's."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        unquoted = any(word == "ssh" and not before.startswith("-") for before, word in pairwise(["", *args]))
        if unquoted and not ctx.resilient_parsing:
            raise typer.BadParameter('put the ssh line in quotes: install "ssh -p 44686 root@HOST" CARD', ctx)
        return super().parse_args(ctx, args)


def install(
    what: Annotated[
        list[str],
        typer.Argument(
            help="The instance's ssh line in quotes (or use --host and --port), then the cards.",
            autocompletion=complete_cards,
            metavar="[SSH_LINE] CARD...",
        ),
    ],
    ui_home: Annotated[str, typer.Option(help="ComfyUI's folder on the instance.")] = "/workspace/ComfyUI",
    host: Annotated[str | None, typer.Option(help="Address of the instance.")] = None,
    port: Annotated[int | None, typer.Option(help="SSH port of the instance.")] = None,
    user: Annotated[str | None, typer.Option(help="User on the instance.")] = None,
    parallel: Annotated[int, typer.Option(help="Downloads at the same time.")] = 1,
    bandwidth: Annotated[float | None, typer.Option(help="Bandwidth limit in MB/s for the whole install.")] = None,
    max_attempts: Annotated[int | None, typer.Option(help="Attempts at each resource before it fails.")] = None,
    verify: Annotated[bool, typer.Option(help="Check the files before they count as installed.")] = True,
    reinstall: Annotated[bool, typer.Option("--reinstall", help="Load files anew that are there and whole.")] = False,
    host_key: Annotated[str | None, typer.Option(help="Accept exactly this host key, SHA256:….")] = None,
    wait: Annotated[int | None, typer.Option(help="Seconds to wait for an instance that does not answer yet.")] = None,
    watching: Annotated[bool, typer.Option("--watch/--no-watch", help="Stay until the job has ended.")] = True,
    url: Url = DEFAULT_URL,
    token: Token = None,
) -> None:
    """Install cards on an instance and watch the job.

    resource-installer install "ssh -p 44686 root@109.231.106.68" loras/wan21_fusionx.md
    """
    body = _request(what, host, port, user)
    optional = {
        "max_attempts": max_attempts,
        "host_key_sha256": host_key,
        "reinstall": reinstall or None,
        "wait_for_ssh_seconds": wait,
        "bandwidth_limit": None if bandwidth is None else round(bandwidth * 1_000_000),
    }
    body |= {"ui_home": ui_home, "parallel": parallel, "verify": verify}
    body |= {name: value for name, value in optional.items() if value is not None}

    async def work(client: Client, console: Console) -> int:
        from uuid import uuid4

        headers = {"Idempotency-Key": str(uuid4())}
        made = await client.call("POST", "/resources/install", body=body, headers=headers)
        print(made["job_id"], flush=True)
        return await _watch(client, made["job_id"], console) if watching else 0

    run(url, token, work)


def watch(job: Job, url: Url = DEFAULT_URL, token: Token = None) -> None:
    """Watch a job until it has ended. Exit status: 0 completed, 1 failed, 3 cancelled."""

    async def work(client: Client, console: Console) -> int:
        return await _watch(client, await client.job_id(job), console)

    run(url, token, work)


def pause(target: Target, url: Url = DEFAULT_URL, token: Token = None) -> None:
    """Pause a job, or all jobs of an instance."""
    _control(url, token, target, "pause")


def resume(target: Target, url: Url = DEFAULT_URL, token: Token = None) -> None:
    """Resume a paused job, or all jobs of an instance."""
    _control(url, token, target, "resume")


def cancel(job: Job, url: Url = DEFAULT_URL, token: Token = None) -> None:
    """End a job. Installed files stay."""
    _control(url, token, job, "cancel")


def retry(
    job: Job,
    watching: Annotated[bool, typer.Option("--watch/--no-watch", help="Stay until the job has ended.")] = True,
    url: Url = DEFAULT_URL,
    token: Token = None,
) -> None:
    """Start a new job with what a failed or cancelled job did not install."""

    async def work(client: Client, console: Console) -> int:
        made = await client.call("POST", f"/resources/jobs/{await client.job_id(job)}/retry")
        print(made["job_id"], flush=True)
        return await _watch(client, made["job_id"], console) if watching else 0

    run(url, token, work)


def move(
    job: Job,
    before: Annotated[str, typer.Argument(help="Another waiting job, or first, or last.")],
    url: Url = DEFAULT_URL,
    token: Token = None,
) -> None:
    """Move a waiting job to another place in its instance's queue."""

    async def work(client: Client, console: Console) -> int:
        place = before if before in ("first", "last") else await client.job_id(before)
        answer = await client.call("POST", f"/resources/jobs/{await client.job_id(job)}/move", body={"before": place})
        say(answer["message"])
        return 0

    run(url, token, work)


def _request(what: list[str], host: str | None, port: int | None, user: str | None) -> dict[str, Any]:
    """The body of the request: the instance and the cards. Raises BadParameter."""
    from service.terminal.ssh_line import parse_ssh_line

    if host is None:
        target = parse_ssh_line(what[0])
        if target is None or what[0].endswith(".md"):
            raise typer.BadParameter(
                f'"{what[0]}" is not an ssh line: give one in quotes before the cards, or use --host'
            )
        what = what[1:]
        host, port, user = target.host, port or target.port, user or target.user
    if not what:
        raise typer.BadParameter("name at least one card: `resource-installer cards` lists them")
    body = {"ssh_host": host, "ssh_port": port or 22, "resources": what}
    return body if user is None else {**body, "ssh_user": user}


def _control(url: str, token: str | None, target: str, control: str) -> None:
    async def work(client: Client, console: Console) -> int:
        if "@" in target:
            from urllib.parse import quote

            found = (await client.call("POST", f"/resources/instances/{quote(target, safe='@:[]')}/{control}"))["jobs"]
            for job in found:
                say(f"{job['job_id']}: {job['message'] if 'message' in job else job['state']}")
            return 0
        answer = await client.call("POST", f"/resources/jobs/{await client.job_id(target)}/{control}")
        say(answer["message"])
        return 0

    run(url, token, work)


async def _watch(client: Client, job_id: str, console: Console) -> int:
    from service.terminal.watch import watch as watch_job

    try:
        return await watch_job(client, job_id, console)
    except asyncio.CancelledError:
        say(f"the install continues; watch it again with: resource-installer watch {job_id}")
        raise
