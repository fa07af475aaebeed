"""The stage for each worker, the marker ``realwork(id)``, the list of what is open, and the table at the end."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from tests.realwork.open import OPEN
from tests.realwork.stage import Stage

SECTIONS = {
    "1": "half files and retries",
    "2": "scripts that end before their downloads",
    "3": "nothing installed",
    "4": "error bodies saved as models",
    "5": "commands that work without the service",
    "6": "quiet tools",
    "7": "wrong failures and causes",
    "8": "SSH as it is",
    "9": "cards as people write them",
    "10": "clients",
    "ledger": "traps of the ledger",
    "truth": "decisions about truth",
    "kill": "killed in the middle",
    "script": "whole provisioning scripts",
    "runs": "several runs in the background",
}


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "realwork(id): a case of real work, by its section")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        marker = item.get_closest_marker("realwork")
        if marker is None:
            continue
        case_id = marker.args[0]
        item.user_properties.append(("realwork", case_id))
        if case_id in OPEN:
            # Only a wrong outcome is expected, never a broken test.
            item.add_marker(pytest.mark.xfail(strict=True, raises=AssertionError, reason="open"))


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def stage(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stage]:
    built = Stage(tmp_path_factory.mktemp("realwork"))
    try:
        yield await built.start()
    finally:
        await built.close()


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Section, cases, right: over the cases that were run."""
    rows: dict[str, list[bool]] = {}
    for outcome in ("passed", "failed", "xfailed", "xpassed"):
        for report in terminalreporter.stats.get(outcome, []):
            if getattr(report, "when", "") != "call":
                continue
            case_id = dict(report.user_properties).get("realwork")
            if case_id is not None:
                # Strict: what is right but stands in the list is a failure, and right all the same.
                is_right = outcome in ("passed", "xpassed") or "XPASS" in str(report.longrepr or "")
                rows.setdefault(case_id.partition(".")[0], []).append(is_right)
    if not rows:
        return
    terminalreporter.section("real work")
    line = "{:<8}{:<42}{:>7}{:>7}".format
    terminalreporter.write_line(line("section", "", "cases", "right"))
    for section in [name for name in SECTIONS if name in rows]:
        right = rows[section]
        terminalreporter.write_line(line(section, SECTIONS[section], len(right), sum(right)))
    every = [right for section in rows.values() for right in section]
    terminalreporter.write_line(line("all", "", len(every), sum(every)))
