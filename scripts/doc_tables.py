"""Write the generated tables of docs/: ``python -m scripts.doc_tables``. A test says when one is stale.

Each stands between ``<!-- NAME: made by scripts/doc_tables.py -->`` and ``<!-- /NAME -->``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from service.events.causes import CAUSES, Cause
from service.events.tools import COMMAND_TOOLS
from service.web.endpoint import Endpoint
from service.web.endpoints import ENDPOINTS

ROOT = Path(__file__).resolve().parents[1]
START = "/resources/install"
LIBRARY = ("/resources", "/resources/preview", "/resources/export", "/resources/import")


def causes() -> list[str]:
    """One row a cause, in the order of the API."""
    return _table(
        "| cause | retried automatically | hint |",
        (
            f"| `{row.cause.value}` | {'yes' if row.is_transient else 'no'} | {row.hint} |"
            for row in map(CAUSES.__getitem__, Cause)
        ),
    )


def tools() -> list[str]:
    """One row a tool whose output the service reads."""
    return _table(
        "| tool | on an instance that lacks it |",
        (
            f"| {', '.join(f'`{command}`' for command in tool.commands)} | "
            f"{'the service installs it' if tool.package else 'the card fails with `tool_missing`'} |"
            for tool in sorted(COMMAND_TOOLS, key=lambda tool: tool.name)
        ),
    )


def controls() -> list[str]:
    """One row an endpoint that changes a job; the one that starts a job has a section of its own."""
    return _endpoints(e for e in ENDPOINTS if e.method != "get" and e.path != START and not _is_of_library(e))


def library() -> list[str]:
    """One row an endpoint about cards and links."""
    return _endpoints(filter(_is_of_library, ENDPOINTS))


def reads() -> list[str]:
    """One row an endpoint that changes nothing."""
    return _endpoints(endpoint for endpoint in ENDPOINTS if endpoint.method == "get" and not _is_of_library(endpoint))


def _is_of_library(endpoint: Endpoint) -> bool:
    return endpoint.path in LIBRARY or endpoint.path.startswith("/resources/{path}")


# The tables of each page.
TABLES: dict[str, dict[str, Callable[[], list[str]]]] = {
    "docs/api.md": {"controls": controls, "library": library, "reads": reads, "causes": causes},
    "docs/cards.md": {"tools": tools},
}


def with_tables(path: str, page: str) -> str:
    """The page with its tables as they should be."""
    for name, table in TABLES[path].items():
        begin, end = f"<!-- {name}: made by scripts/doc_tables.py -->\n", f"<!-- /{name} -->"
        assert page.count(begin) == page.count(end) == 1, f"{path} has no place for the table of {name}"
        before, _, rest = page.partition(begin)
        after = rest.partition(end)[2]
        page = before + begin + "".join(f"{row}\n" for row in table()) + end + after
    return page


def _table(head: str, rows: Iterable[str]) -> list[str]:
    return [head, "|---" * (head.count("|") - 1) + "|", *rows]


def _endpoints(endpoints: Iterable[Endpoint]) -> list[str]:
    return _table("| endpoint | |", (f"| `{_call(endpoint)}` | {_meaning(endpoint)} |" for endpoint in endpoints))


def _call(endpoint: Endpoint) -> str:
    query = "&".join(f"{parameter.name}=" for parameter in endpoint.parameters if parameter.within == "query")
    body = "".join(f' {{"{name}": …}}' for name in endpoint.example or ())
    return f"{endpoint.method.upper()} {endpoint.path}{'?' + query if query else ''}{body}"


def _meaning(endpoint: Endpoint) -> str:
    return f"{endpoint.summary}. {endpoint.note}".strip() if endpoint.note else endpoint.summary


if __name__ == "__main__":
    for path in TABLES:
        file = ROOT / path
        file.write_text(with_tables(path, file.read_text(encoding="utf-8")), encoding="utf-8")
