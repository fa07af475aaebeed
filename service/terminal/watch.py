"""Watches a job: one bar per resource on a terminal, plain lines in a pipe or file."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from types import TracebackType
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn

from service.terminal.client import Back, Client, Event, Lost
from service.terminal.job_view import EXIT_STATUS, JobView
from service.terminal.text import clock, foreign, harmless

# Plain lines show a bar at every tenth.
PLAIN_STEP_PERCENT = 10


class Screen(Protocol):
    """Shows a job: bars or lines."""

    def __enter__(self) -> Screen: ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...
    def say(self, at: str | None, text: str, style: str = "") -> None: ...
    def show(self, view: JobView) -> None: ...


async def watch(client: Client, job_id: str, console: Console) -> int:
    """Returns when the job has ended, with the exit status: 0 completed, 1 failed, 3 cancelled. Raises ClientError."""
    view = JobView()
    with _Bars(console) if console.is_terminal else _Lines() as screen:
        async for event in events(client, job_id):
            if isinstance(event, Lost):
                screen.say(
                    None, f"reconnecting to the service ({event.reason}); the install continues meanwhile", "yellow"
                )
            elif isinstance(event, Back):
                screen.say(None, "connected to the service again", "green")
            else:
                view.apply(event)
                line = view.sentence(event)
                if line is not None:
                    screen.say(event["at"], line, _STYLES.get(event["type"], ""))
                screen.show(view)
                if event["type"] == "job_failed" and event["hint"]:
                    screen.say(None, f"what to do: {harmless(event['hint'])}")
                if event["type"] == "job_failed":
                    screen.say(None, f"again, without what is done: resource-installer retry {job_id}")
    return EXIT_STATUS[view.ended or "job_failed"]


_STYLES = {
    "resource_installed": "green",
    "job_completed": "bold green",
    "resource_failed": "red",
    "job_failed": "bold red",
    "link_lost": "yellow",
    "job_cancelled": "yellow",
}


async def events(client: Client, job_id: str) -> AsyncIterator[Event | Lost | Back]:
    """Yields the history in its compact form, then everything new."""
    history = await client.call("GET", f"/resources/jobs/{job_id}/events", query={"replay": "compact"})
    ends = [last for _, last in history["skipped"] or ()]
    for event in history["events"]:
        ends.append(event["sequence"])
        yield event
    async for news in client.follow(job_id, max(ends, default=0)):
        yield news


class _Bars:
    """Bars on a terminal. Names come from elsewhere: they are text, never markup."""

    def __init__(self, console: Console) -> None:
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=30),
            TextColumn("{task.percentage:>3.0f} %"),
            TextColumn("{task.fields[facts]}", markup=False),
            console=console,
        )
        self._tasks: dict[str, TaskID] = {}

    def __enter__(self) -> _Bars:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def say(self, at: str | None, text: str, style: str = "") -> None:
        self._progress.console.print(foreign(f"{clock(at)} {text}".strip(), style))

    def show(self, view: JobView) -> None:
        for path, resource in view.resources.items():
            task = self._tasks.get(path)
            if task is None:
                task = self._tasks[path] = self._progress.add_task(resource.title, total=100.0, facts="")
            self._progress.update(task, completed=resource.percent, facts=resource.facts)


class _Lines:
    """One line for each thing that happened; none twice."""

    def __init__(self) -> None:
        self._shown: dict[str, tuple[str | None, int]] = {}

    def __enter__(self) -> _Lines:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        sys.stdout.flush()

    def say(self, at: str | None, text: str, style: str = "") -> None:
        print(f"{clock(at)} {harmless(text)}".strip(), flush=True)

    def show(self, view: JobView) -> None:
        for path, resource in view.resources.items():
            step = resource.stage, int(resource.percent) // PLAIN_STEP_PERCENT
            if resource.state == "running" and resource.stage is not None and self._shown.get(path) != step:
                self._shown[path] = step
                self.say(None, f"{resource.title}: {resource.percent:.0f} %, {resource.facts}")
