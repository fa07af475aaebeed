"""``pytest --unit``, which is ``make unit``: all tests but those that start something real.

A file belongs to it unless it, or a conftest.py on the way to it, imports one of the parts that start a server or a
browser. So a new pure test belongs to it by itself, in whatever folder it is. The guard below keeps the
rule true: a test that uses the network fails there.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import pytest

TESTS = Path(__file__).parent
REAL_PARTS = re.compile(
    r"^(from|import) (tests\.kit\.(browser|ports|raw_watcher|running|service|sshd)|service\.demo)\b"
    r"|^from tests\.realwork\.stage\b"
    r"|^from service\.app import .*\bService\b",
    re.MULTILINE,
)
NETWORK_CALLS = ("socket.bind", "socket.connect", "socket.getaddrinfo", "socket.sendto")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--unit", action="store_true", help="only the tests that start nothing real")


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("--unit"):
        sys.addaudithook(_refuse_network)


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Unwanted files are not even imported: that alone takes seconds."""
    if collection_path.suffix == ".py" and config.getoption("--unit") and _starts_something(collection_path):
        return True
    return None


def _starts_something(path: Path) -> bool:
    conftests = (folder / "conftest.py" for folder in path.parents if TESTS in folder.parents)
    files = [path, *(conftest for conftest in conftests if conftest.exists())]
    return any(REAL_PARTS.search(file.read_text(encoding="utf-8")) for file in files)


def _refuse_network(event: str, _arguments: Any) -> None:
    if event in NETWORK_CALLS:
        raise RuntimeError(f"a unit test called {event}: import the part of tests/kit that it uses, or use no network")
