"""``pytest --unit``, which is ``make unit``: all tests but those that start something real.

A file belongs to it unless it, or a conftest.py on the way to it, imports one of the parts that start a server or a
browser. So a new pure test belongs to it by itself, in whatever folder it is. The guard below keeps the
rule true: a test that uses the network fails there.
"""

from __future__ import annotations

import compileall
import json
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Generator, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from tests.kit.loop_watch import REPORT_VARIABLE, LoopWatch, watch_asyncio

TESTS = Path(__file__).parent
COMPILED = (TESTS.parent / "service", TESTS.parent / "migrations", TESTS / "kit")
REAL_PARTS = re.compile(
    r"^(from|import) (tests\.kit\.(browser|ports|raw_watcher|receiver|running|service|sshd)|service\.demo)\b"
    r"|^from tests\.(realwork\.stage|cluster\.replicas)\b"
    r"|^from service\.app import .*\bService\b",
    re.MULTILINE,
)
NETWORK_CALLS = ("socket.bind", "socket.connect", "socket.getaddrinfo", "socket.sendto")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--unit", action="store_true", help="only the tests that start nothing real")


def pytest_configure(config: pytest.Config) -> None:
    _watch_loops()
    if config.getoption("--unit"):
        sys.addaudithook(_refuse_network)
    elif not hasattr(config, "workerinput"):
        _compile_once()


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Unwanted files are not even imported: that alone takes seconds."""
    if collection_path.suffix == ".py" and config.getoption("--unit") and _starts_something(collection_path):
        return True
    return None


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Those that start nothing come last, in their random order: they are short, so no worker is left alone at the end
    with a long one. Without those that ask for a PostgreSQL by name, where nothing is started."""
    if config.getoption("--unit"):
        items[:] = [item for item in items if "postgres_url" not in getattr(item, "fixturenames", ())]
    items.sort(key=lambda item: not _starts_something(item.path))


@cache
def _starts_something(path: Path) -> bool:
    conftests = (folder / "conftest.py" for folder in path.parents if TESTS in folder.parents)
    files = [path, *(conftest for conftest in conftests if conftest.exists())]
    return any(REAL_PARTS.search(file.read_text(encoding="utf-8")) for file in files)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """What is stored is stored by every engine: a test that asks for a database runs once on each."""
    if "engine" in metafunc.fixturenames:
        engines = ("sqlite",) if metafunc.config.getoption("--unit") else ("sqlite", "postgresql")
        metafunc.parametrize("engine", engines, indirect=True)


@pytest.fixture
def engine(request: pytest.FixtureRequest) -> str:
    """The name of a database's engine."""
    return str(request.param)


@pytest.fixture
def database_url(request: pytest.FixtureRequest, engine: str, tmp_path: Path) -> Iterator[str]:
    """The URL of a new database of this engine."""
    if engine == "sqlite":
        yield f"sqlite+aiosqlite:///{tmp_path / 'installer.sqlite3'}"
        return
    yield request.getfixturevalue("postgres_url")


@pytest.fixture
def postgres_url() -> Iterator[str]:
    """The URL of a new database of PostgreSQL."""
    from tests.kit.postgres import shared_server

    with shared_server().database() as url:
        yield url


def _compile_once() -> None:
    """Where PYTHONDONTWRITEBYTECODE is set, each of the hundreds of services and commands that the suite starts would
    compile all of its modules anew: a third of the time that it takes to start."""
    if sys.dont_write_bytecode:
        for folder in COMPILED:
            compileall.compile_dir(folder, quiet=2)


def _refuse_network(event: str, _arguments: Any) -> None:
    if event in NETWORK_CALLS:
        raise RuntimeError(f"a unit test called {event}: import the part of tests/kit that it uses, or use no network")


def _watch_loops() -> None:
    """In this process and in every service that a test starts: see kit/loop_watch.py."""
    report = Path(tempfile.mkdtemp(prefix="loop-watch-")) / "trips"
    report.touch()
    os.environ[REPORT_VARIABLE] = str(report)
    watch = LoopWatch(report, whole_process=False)
    watch_asyncio(watch)
    watch.start()


def pytest_unconfigure() -> None:
    shutil.rmtree(Path(os.environ[REPORT_VARIABLE]).parent, ignore_errors=True)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown() -> Generator[None]:
    """A test whose loop was kept busy or blocked fails when all that it started has ended."""
    yield
    report = Path(os.environ[REPORT_VARIABLE])
    trips = report.read_text(encoding="utf-8").splitlines()
    if trips:
        os.truncate(report, 0)
        pytest.fail("the loop watchdog:\n" + "\n".join(map(_told, trips)), pytrace=False)


def _told(line: str) -> str:
    trip = json.loads(line)
    stacks = ["\n".join(f"      {place}" for place in stack[:12]) for stack in trip["stacks"][:3]]
    return "\n    --\n".join([f"  {trip['kind']}: {trip['what']}", *stacks])
