"""One arena for each worker, ``--attack-seed``, and the table at the end."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from tests.attack.arena import Arena
from tests.attack.attack import ATTACKS, KINDS
from tests.kit.service import until as _real_part  # noqa: F401

COLUMNS = "| kind | attack | before | after | test |\n|---|---|---|---|---|"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--attack-seed", type=int, help="of all that attacks make up; printed by each run")
    parser.addoption("--attack-alone", action="store_true", help="nothing else runs: /healthz must answer in time too")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "attack(id): an attack, by its place in the list")


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def arena(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Arena]:
    seed = request.config.getoption("--attack-seed")
    built = Arena(tmp_path_factory.mktemp("attack"), random.randrange(10**9) if seed is None else seed)
    try:
        await built.start()
        yield built
    finally:
        await built.close()


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """The table, over the attacks that were run."""
    attacks = {attack.id: attack for attack in ATTACKS}
    rows: dict[str, str] = {}
    seeds: set[str] = set()
    for outcome in ("passed", "failed", "xfailed", "error"):
        for report in terminalreporter.stats.get(outcome, []):
            properties = dict(report.user_properties)
            attack = attacks.get(properties.get("attack", ""))
            if attack is None or (report.when != "call" and outcome != "error"):
                continue
            seeds.add(properties["seed"])
            after = properties.get("after") or ("still open" if outcome == "xfailed" else "IT SUCCEEDED")
            before = attack.before or "our own"
            kind = f"{attack.kind} {KINDS[attack.kind]}"
            rows[attack.id] = f"| {kind} | {attack.name} | {before} | {after} | `{attack.id}` |"
    if not rows:
        return
    terminalreporter.section("attacks")
    terminalreporter.write_line(COLUMNS)
    for attack_id in sorted(rows):
        terminalreporter.write_line(rows[attack_id])
    terminalreporter.write_line(f"{len(rows)} attacks, seed {', '.join(sorted(seeds))}")
