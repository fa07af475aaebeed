"""The post-mortem as one HTML file: it loads and runs nothing, and shows what came from an instance only as text."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

WIDTH, HEIGHT = 640, 120
_STYLE = """
:root { color-scheme: light dark; font: 15px/1.5 system-ui, sans-serif; }
body { max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.4rem; } h2 { font-size: 1.1rem; margin-top: 2rem; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; padding: .25rem .5rem; vertical-align: top; }
th, td { border-bottom: 1px solid #8884; } td { overflow-wrap: anywhere; }
pre { background: #8881; padding: .75rem; overflow-x: auto; white-space: pre-wrap; overflow-wrap: anywhere; }
.cause { font-weight: 600; } .hint { border-left: 3px solid #48f; padding-left: .75rem; }
svg { width: 100%; height: auto; } polyline { fill: none; stroke: #48f; stroke-width: 1.5; }
@media print { body { margin: 0; } a { text-decoration: none; } }
"""


def report_page(report: dict[str, Any]) -> str:
    """The report's JSON as a page that prints well."""
    parts = [
        _head(report),
        *(_failure(failure) for failure in report["failures"]),
        _plot(report["throughput"]),
        "<h2>How the time went</h2>",
        _table(("what", "resource", "attempt", "from", "seconds"), (_span(span) for span in report["timeline"])),
        _runs(report["runs"]),
        "<h2>Attempts</h2>",
        _table(
            ("resource", "attempt", "outcome", "cause", "exit", "seconds", "bytes", "bytes/s"),
            (_attempt(attempt) for attempt in report["attempts"]),
        ),
        "<h2>The last lines</h2>",
        f"<pre>{_text(chr(10).join(report['last_lines']) or 'nothing was printed')}</pre>",
    ]
    title = f"Job {report.get('job_id', '')}: {report['state']}"
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{_text(title)}</title><style>{_STYLE}</style></head><body>{''.join(parts)}</body></html>\n"
    )


def _head(report: dict[str, Any]) -> str:
    rows = [
        ("state", report["state"]),
        (
            "installed",
            f"{report['installed']} of {report['total']}" if report["installed"] is not None else "not ended",
        ),
        ("instance", report.get("instance")),
        ("folder", report.get("ui_home")),
        ("asked for", report.get("created_at")),
        ("started", report.get("started_at")),
        ("ended", report["ended_at"]),
        ("error", report["error"]),
        ("what to do", report["hint"]),
    ]
    body = "".join(f"<tr><th>{_text(name)}</th><td>{_text(value)}</td></tr>" for name, value in rows if value)
    return f"<h1>Job {_text(report.get('job_id'))}</h1><table>{body}</table>"


def _failure(failure: dict[str, Any]) -> str:
    evidence = _table(
        ("event", "byte", "what it says"),
        ((e["sequence"], e["source_offset"], e["line"]) for e in failure["evidence"]),
    )
    return (
        f"<h2>{_text(failure['resource'])}</h2>"
        f'<p><span class="cause">{_text(failure["cause"])}</span>: {_text(failure["error"])}</p>'
        f'<p class="hint">{_text(failure["hint"])}</p><p>A retry {_text(failure["retry"])}.</p>'
        f"<h3>What shows it</h3>{evidence}<pre>{_text(chr(10).join(failure['last_lines']))}</pre>"
    )


def _plot(throughput: dict[str, Any]) -> str:
    rates: Sequence[int] = throughput["bytes_per_second"]
    if len(rates) < 2:
        return ""
    top = max(rates) or 1
    points = " ".join(
        f"{n * WIDTH / (len(rates) - 1):.1f},{HEIGHT - rate * (HEIGHT - 4) / top:.1f}" for n, rate in enumerate(rates)
    )
    seconds = throughput["step_seconds"] * len(rates)
    return (
        f"<h2>Throughput</h2><p>at most {top / 1e6:,.2f} MB/s, over {seconds:,.0f} seconds</p>"
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="bytes a second over time">'
        f'<polyline points="{points}"/></svg>'
    )


def _runs(runs: Sequence[dict[str, Any]]) -> str:
    if not runs:
        return ""
    names = ("tool", "file", "address", "status", "bytes", "seconds", "resource", "attempt")
    return "<h2>Runs of tools</h2>" + _table(names, (tuple(run[name] for name in names) for run in runs))


def _span(span: dict[str, Any]) -> tuple[Any, ...]:
    kind = span["kind"].replace("_", " ")
    return (
        f"{kind} {span['what']}" if span["what"] else kind,
        span["resource"],
        span["attempt"],
        span["from"],
        span["seconds"],
    )


def _attempt(attempt: dict[str, Any]) -> tuple[Any, ...]:
    names = ("resource", "attempt", "outcome", "cause", "exit_code", "seconds", "bytes", "bytes_per_second")
    return tuple(attempt[name] for name in names)


def _table(heads: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    head = "".join(f"<th>{_text(name)}</th>" for name in heads)
    body = "".join("<tr>" + "".join(f"<td>{_text(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _text(value: Any) -> str:
    return "" if value is None else escape(str(value))
