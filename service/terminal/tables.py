"""Prints jobs, cards, failures, replicas and the post-mortem."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any

from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from service.terminal.text import byte_count, clock, day_and_clock, duration, foreign, harmless, speed, words

STATE_STYLES = {
    "running": "blue",
    "completed": "green",
    "installed": "green",
    "failed": "red",
    "paused": "yellow",
    "cancelled": "dim",
}
_SPARKS = "▁▂▃▄▅▆▇█"
SPARK_CHARACTERS = 60


def print_rows(console: Console, heads: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """A table on a terminal; elsewhere one line per row, separated by tabs."""
    if not console.is_terminal:
        for row in rows:
            print("\t".join(harmless(cell.plain if isinstance(cell, Text) else cell or "") for cell in row))
        return
    table = Table(*heads, box=None, pad_edge=False, header_style="bold")
    for row in rows:
        table.add_row(*(cell if isinstance(cell, Text) else foreign(cell) for cell in row))
    console.print(table)


def job_row(job: Mapping[str, Any], *, whole_id: bool) -> list[Any]:
    state = job["state"] + (" (cancelling)" if job["cancelling"] else "")
    if job["link"] == "reconnecting":
        state += ", reconnecting"
    about = [
        f"place {job['queue_position']}" if job["queue_position"] else "",
        f"{duration(job['job_eta_seconds'])} left" if job["job_eta_seconds"] is not None else "",
        words(job["cause"]),
    ]
    return [
        job["job_id"] if whole_id else job["job_id"][:8],
        Text(state, STATE_STYLES.get(job["state"], "")),
        job["instance"],
        f"{job['installed']}/{job['total']}",
        day_and_clock(job["created_at"]),
        ", ".join(part for part in about if part),
    ]


JOB_HEADS = ("job", "state", "instance", "installed", "since", "")
CARD_HEADS = ("card", "title", "type", "ecosystem", "size")
FAILURE_HEADS = ("times", "cause", "card", "host", "last", "error")


REPLICA_HEADS = ("replica", "name", "version", "lease", "install", "instance", "state")


def replica_rows(found: Mapping[str, Any], *, whole_id: bool) -> Iterable[Sequence[Any]]:
    """A row for each install that a replica follows, and one for a replica that follows none."""
    for replica in found["replicas"]:
        lease = replica["lease_left_seconds"]
        head = [
            str(replica["replica_id"]) + (" (this one)" if replica["is_this"] else ""),
            replica["name"] + ("" if replica["same_cards"] else ", other cards"),
            replica["version"],
            "never ends" if lease is None else f"{duration(lease)} left",
        ]
        for job in replica["jobs"] or [None]:
            yield [*head, *_owned(job, whole_id=whole_id)]
    for job in found["left"]:
        yield ["", "nobody yet", "", "", *_owned(job, whole_id=whole_id)]


def _owned(job: Mapping[str, Any] | None, *, whole_id: bool) -> list[Any]:
    if job is None:
        return ["", "", ""]
    state = Text(job["state"], STATE_STYLES.get(job["state"], ""))
    return [job["job_id"] if whole_id else job["job_id"][:8], job["instance"], state]


def card_row(card: Mapping[str, Any]) -> list[Any]:
    return [card["path"], card["title"], card["type"], card["ecosystem"], byte_count(card["size"])]


def failure_row(group: Mapping[str, Any]) -> list[Any]:
    last = day_and_clock(group["last_at"])
    return [str(group["count"]), words(group["cause"]), group["card"], group["host"], last, group["error"]]


def preview_lines(preview: Mapping[str, Any]) -> Group:
    """What a link would become: the facts, the files to choose from or the commands, and what to know before."""
    size = byte_count(preview["file"]["size"]) if preview["file"] is not None else ""
    folder = f"models/{preview['folder']}" + (" (a guess by its name)" if preview["folder_is_guess"] else "")
    facts = (
        ("", preview["title"]),
        ("type", preview["type"]),
        ("folder", folder),
        ("file", preview["file"] and preview["file"]["name"]),
        ("size", size),
        ("sha256", preview["file"] and preview["file"]["sha256"]),
        ("base model", preview["basemodel"]),
        ("version", preview["version"]),
        ("license", preview["license"]),
        ("by", preview["creator"]),
        ("trigger words", ", ".join(preview["trigger_words"])),
        ("page", preview["url"]),
    )
    parts: list[Any] = [Text.assemble((f"{name:<14}", "dim"), foreign(value)) for name, value in facts if value]
    parts += [foreign(f"  {each['file']}  {byte_count(each['size'])}") for each in preview["choices"]]
    if preview["commands"]:
        parts += [Text("it runs", "dim"), *(foreign(f"  {each}") for each in preview["commands"].splitlines())]
    parts += [
        foreign(f"{each['title']} ({each['path']}) has the same {each['why']}", "yellow")
        for each in preview["duplicates"]
    ]
    parts += [foreign(each, "yellow") for each in preview["notes"]]
    parts += [foreign(each["message"], "yellow") for each in preview["missing"]]
    return Group(*parts)


def report_lines(report: Mapping[str, Any]) -> Group:
    """The post-mortem: what failed and the evidence, then where the time went."""
    state = foreign(report["state"], STATE_STYLES.get(report["state"], ""))
    counts = f"{report['installed'] or 0} of {report['total']} installed, {report['events']} events"
    parts: list[Any] = [
        Text.assemble("job ", report["job_id"], " on ", foreign(report["instance"]), ": ", state, f", {counts}")
    ]
    if report["error"] is not None and not report["failures"]:
        parts += [foreign(report["error"], "red"), foreign(report["hint"])]
    for failure in report["failures"]:
        parts += _failure(failure)
    parts += [Text("\nwhere the time went", "bold"), _timeline(report["timeline"])]
    if report["attempts"]:
        parts += [Text("\nattempts", "bold"), _attempts(report["attempts"])]
    rates = report["throughput"]["bytes_per_second"]
    if rates:
        parts += [Text("\nthroughput", "bold"), Text(f"{sparkline(rates)}  {speed(max(rates))} at most")]
    if report["last_lines"]:
        parts += [Text("\nthe last lines", "bold"), *(foreign(f"  {line}") for line in report["last_lines"])]
    return Group(*parts)


def sparkline(rates: Sequence[float]) -> str:
    """The rates as at most SPARK_CHARACTERS bars; each is the mean of its share."""
    width = min(len(rates), SPARK_CHARACTERS)
    cuts = [at * len(rates) // width for at in range(width + 1)]
    means = [sum(rates[a:b]) / (b - a) for a, b in pairwise(cuts)]
    most = max(means) or 1
    return "".join(_SPARKS[min(len(_SPARKS) - 1, int(mean / most * len(_SPARKS)))] for mean in means)


def _failure(failure: Mapping[str, Any]) -> list[Any]:
    parts = [
        Text.assemble("\n", foreign(failure["resource"], "bold"), ": ", (words(failure["cause"]), "bold red")),
        foreign(f"  {failure['error']}"),
        foreign(f"  what to do: {failure['hint']}"),
        foreign(f"  a retry {failure['retry']}"),
    ]
    for evidence in failure["evidence"]:
        where = f"  event {evidence['sequence']}"
        if evidence["source_offset"] is not None:
            where += f", byte {evidence['source_offset']}"
        parts.append(Text.assemble((f"{where}: ", "dim"), foreign(evidence["line"])))
    return parts


def _timeline(spans: Sequence[Mapping[str, Any]]) -> Table:
    table = Table(box=None, pad_edge=False, show_header=False)
    for span in spans:
        what = Text(f"  {words(span['kind'])} ")
        table.add_row(clock(span["from"]), Text(duration(span["seconds"])), what.append_text(foreign(span["resource"])))
    return table


def _attempts(attempts: Sequence[Mapping[str, Any]]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    for head in ("resource", "attempt", "outcome", "took", "received", "mean speed"):
        table.add_column(head)
    for each in attempts:
        outcome = words(each["outcome"]) + (f" ({words(each['cause'])})" if each["cause"] else "")
        table.add_row(
            foreign(each["resource"]),
            str(each["attempt"]),
            foreign(outcome),
            duration(each["seconds"]),
            byte_count(each["bytes"]),
            speed(each["bytes_per_second"]),
        )
    return table
