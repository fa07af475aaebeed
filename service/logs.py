"""The service's own log: one line for each event of its life, as JSON or for a person, with the job that it concerns.

Everything goes through the standard library's logging, so that the lines of other libraries have the same form. Text
that looks like a secret is redacted before it is written, and a hostile name cannot begin a line of its own.

A line never waits for whoever reads the log (see log_writer.py), and what strangers can provoke is limited in number.
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Callable, Iterable, MutableMapping
from typing import IO, Any, Literal

import structlog
from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.typedefs import Handler
from structlog.typing import Processor

from service.events.redaction import Redactor, Secrets
from service.log_writer import Throttle, log_handler

LogFormat = Literal["json", "console"]
Entry = MutableMapping[str, Any]

logger = logging.getLogger(__name__)

# What anybody can make these libraries say.
PROVOKED = ("aiohttp.server", "aiohttp.internal", "engineio", "socketio")
CHANGING = ("POST", "PATCH", "PUT", "DELETE")
API_PATHS = ("/resources", "/keys", "/instances", "/vast", "/workflows")
DEPTH_MAX = 8
# Libraries that log too much at "info".
QUIET = ("asyncssh", "aiohttp.access", "aiosqlite", "sqlalchemy.engine", "engineio", "socketio")

_JOB = re.compile(r"\bjob ([0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})\b")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


def configure_logs(
    log_format: LogFormat | None,
    level: str,
    *,
    secrets: Secrets | Iterable[str] = (),
    stream: IO[str] | None = None,
) -> None:
    """Send all logging to the stream (standard error). Without a format: for a person on a terminal, JSON elsewhere."""
    stream = stream if stream is not None else sys.stderr
    log_format = log_format or ("console" if stream.isatty() else "json")
    handler = log_handler(stream)
    handler.setFormatter(_formatter(log_format, Redactor(secrets), colors=stream.isatty()))
    handler.addFilter(_shorten_malformed_http)
    handler.addFilter(Throttle(PROVOKED))
    root = logging.getLogger()
    for former in list(root.handlers):
        if isinstance(former.formatter, structlog.stdlib.ProcessorFormatter):
            root.removeHandler(former)
            former.close()
    root.addHandler(handler)
    root.setLevel(level.upper())
    for name in QUIET:
        logging.getLogger(name).setLevel(max(logging.WARNING, root.level))
    logging.captureWarnings(True)


def concerns_job(job_id: str) -> None:
    """From here on every line of this task, and of the tasks that it starts, has this job's id."""
    structlog.contextvars.bind_contextvars(job_id=job_id)


@web.middleware
async def log_changes(request: web.Request, handler: Handler) -> web.StreamResponse:
    """A line for each request that changed something; all lines that a request causes have the id of its job."""
    job_id = request.match_info.get("job_id")
    given = {"job_id": job_id[:64]} if job_id is not None else {}
    with structlog.contextvars.bound_contextvars(**given):
        response = await handler(request)
        if request.method in CHANGING and request.path.startswith(API_PATHS) and response.status < 400:
            started = response.headers.get("Location", "").rpartition("/")[2]
            fields = {"status": response.status, "remote": request.remote, **({"job_id": started} if started else {})}
            logger.info("%s %s", request.method, request.path, extra=fields)
        return response


def _formatter(log_format: LogFormat, redact: Callable[[str], str], *, colors: bool) -> logging.Formatter:
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="at"),
        _job_of_text,
    ]
    render: list[Processor] = [
        structlog.stdlib.ProcessorFormatter.remove_processors_meta,
        structlog.processors.format_exc_info,
        _redacted(redact),
    ]
    if log_format == "json":
        render += [_in_order, structlog.processors.JSONRenderer()]
    else:
        render += [_one_line, structlog.dev.ConsoleRenderer(colors=colors, timestamp_key="at", pad_event_to=0)]
    return structlog.stdlib.ProcessorFormatter(foreign_pre_chain=shared, processors=render)


def _shorten_malformed_http(record: logging.LogRecord) -> bool:
    """Malformed HTTP is the client's fault: log one line, no traceback, so that nobody can flood the log."""
    error = record.exc_info[1] if record.exc_info else None
    # The second: aiohttp's own answer to an Expect with bytes that are not UTF-8 repeats them.
    if isinstance(error, HttpProcessingError | UnicodeEncodeError):
        text = error.message if isinstance(error, HttpProcessingError) else str(error)
        record.levelno, record.levelname, record.exc_info = logging.INFO, "INFO", None
        record.msg, record.args = "malformed HTTP from a client: %s", (" ".join(text.split())[:200],)
    return True


def _job_of_text(_logger: Any, _name: str, entry: Entry) -> Entry:
    """A line from outside a job's own task names the job in its text."""
    if "job_id" not in entry:
        found = _JOB.search(str(entry.get("event", "")))
        if found is not None:
            entry["job_id"] = found[1]
    return entry


def _redacted(redact: Callable[[str], str]) -> Processor:
    def clean(value: Any, depth: int = 0) -> Any:
        if isinstance(value, str):
            return redact(value)
        if value is None or isinstance(value, bool | int | float):
            return value
        if isinstance(value, dict) and depth < DEPTH_MAX:
            return {redact(str(name)): clean(inner, depth + 1) for name, inner in value.items()}
        if isinstance(value, list | tuple | set | frozenset) and depth < DEPTH_MAX:
            return [clean(inner, depth + 1) for inner in value]
        return redact(str(value))

    def process(_logger: Any, _name: str, entry: Entry) -> Entry:
        # "message", which another handler may have left in the record, repeats the text.
        return {redact(name): clean(value) for name, value in entry.items() if name != "message"}

    return process


def _in_order(_logger: Any, _name: str, entry: Entry) -> Entry:
    """The fields that every line has come first."""
    head = {"at": entry.pop("at"), "level": entry.pop("level"), "message": entry.pop("event")}
    return {**head, **entry}


def _one_line(_logger: Any, _name: str, entry: Entry) -> Entry:
    """On a terminal a name could hold escapes, or a line break followed by a forged line. A traceback keeps its line
    breaks."""
    return {
        name: _CONTROL.sub(_escaped, value) if isinstance(value, str) and name != "exception" else value
        for name, value in entry.items()
    } | ({"exception": _traceback(entry["exception"])} if "exception" in entry else {})


def _traceback(text: str) -> str:
    return "\n    ".join(_CONTROL.sub(_escaped, line) for line in text.split("\n"))


def _escaped(found: re.Match[str]) -> str:
    return found[0].encode("unicode_escape").decode("ascii")
