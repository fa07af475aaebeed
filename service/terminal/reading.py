"""The commands that only read: jobs, events, the post-mortem, failures, replicas, cards."""

from __future__ import annotations

import sys
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer

from service.terminal.options import DEFAULT_URL, AsJson, Job, Token, Url, run
from service.terminal.printing import event_printer, print_event_json, print_json, say

if TYPE_CHECKING:
    from rich.console import Console

    from service.terminal.client import Client


def jobs(
    state: Annotated[str | None, typer.Option(help="Only jobs in this state.")] = None,
    host: Annotated[str | None, typer.Option(help="Only jobs of the instance with this address.")] = None,
    limit: Annotated[int, typer.Option(help="At most this many jobs; 0 for all.", min=0)] = 50,
    as_json: AsJson = False,
    url: Url = DEFAULT_URL,
    token: Token = None,
) -> None:
    """List jobs, newest first."""

    async def work(client: Client, console: Console) -> int:
        from service.terminal.tables import JOB_HEADS, job_row, print_rows

        found: list[dict[str, Any]] = []
        async for job in client.jobs(state=state, host=host):
            found.append(job)
            if len(found) == limit:
                break
        if as_json:
            print_json(found)
        else:
            print_rows(console, JOB_HEADS, (job_row(job, whole_id=not console.is_terminal) for job in found))
        return 0

    run(url, token, work)


def events(
    job: Job,
    as_json: AsJson = False,
    after: Annotated[int, typer.Option(help="Only events after this sequence.", min=0)] = 0,
    follow: Annotated[bool, typer.Option(help="Keep printing new events until the job ends.")] = False,
    url: Url = DEFAULT_URL,
    token: Token = None,
) -> None:
    """Print a job's events, one per line, oldest first."""

    async def work(client: Client, console: Console) -> int:
        job_id = await client.job_id(job)
        show = print_event_json if as_json else event_printer()
        seen = after
        while page := (await client.call("GET", f"/resources/jobs/{job_id}/events", query={"after": seen}))["events"]:
            for event in page:
                show(event)
            seen = page[-1]["sequence"]
        if follow:
            async for news in client.follow(job_id, seen):
                if isinstance(news, dict):
                    show(news)
                    sys.stdout.flush()
        return 0

    run(url, token, work)


def report(job: Job, as_json: AsJson = False, url: Url = DEFAULT_URL, token: Token = None) -> None:
    """Explain a job: what failed, the evidence, what to do, where the time went."""

    async def work(client: Client, console: Console) -> int:
        from service.terminal.tables import report_lines

        post_mortem = await client.call("GET", f"/resources/jobs/{await client.job_id(job)}/report")
        if as_json:
            print_json(post_mortem)
        else:
            console.print(report_lines(post_mortem), soft_wrap=not console.is_terminal)
        return 0

    run(url, token, work)


def failures(
    days: Annotated[float, typer.Option(help="Look back this many days.", min=0)] = 30,
    as_json: AsJson = False,
    url: Url = DEFAULT_URL,
    token: Token = None,
) -> None:
    """Show which cards fail, on which hosts, and why."""

    async def work(client: Client, console: Console) -> int:
        from service.terminal.tables import FAILURE_HEADS, failure_row, print_rows

        since = (datetime.now(UTC) - timedelta(days=days)).isoformat()
        found = (await client.call("GET", "/resources/failures", query={"since": since}))["failures"]
        if as_json:
            print_json(found)
        else:
            print_rows(console, FAILURE_HEADS, map(failure_row, found))
        return 0

    run(url, token, work)


def replicas(as_json: AsJson = False, url: Url = DEFAULT_URL, token: Token = None) -> None:
    """Show the replicas of the service, and the installs that each of them follows."""

    async def work(client: Client, console: Console) -> int:
        from service.terminal.tables import REPLICA_HEADS, print_rows, replica_rows

        found = await client.call("GET", "/replicas")
        if as_json:
            print_json(found)
        else:
            print_rows(console, REPLICA_HEADS, replica_rows(found, whole_id=not console.is_terminal))
        return 0

    run(url, token, work)


def cards(
    search: Annotated[str, typer.Argument(help="Words to search for; a card must contain all of them.")] = "",
    as_json: AsJson = False,
    url: Url = DEFAULT_URL,
    token: Token = None,
) -> None:
    """List the cards, or those that contain these words."""

    async def work(client: Client, console: Console) -> int:
        from service.terminal.tables import CARD_HEADS, card_row, print_rows

        library = await client.call("GET", "/resources")
        found = [card for card in library["resources"] if _holds(card, search.lower().split())]
        if as_json:
            print_json(found)
        else:
            print_rows(console, CARD_HEADS, map(card_row, found))
        for card in library["broken"]:
            say(f"{card['path']} cannot be read: {card['error']}")
        return 0

    run(url, token, work)


def _holds(card: dict[str, Any], words: list[str]) -> bool:
    fields = ("path", "title", "type", "ecosystem", "basemodel", "description")
    text = " ".join(str(card[name]) for name in fields if card[name] is not None) + " " + " ".join(card["tags"])
    return all(word in text.lower() for word in words)
