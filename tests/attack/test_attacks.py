"""Every attack of the list, against a live service, beside an honest install that must not notice it.

An attack that still succeeds is expected to fail here, with its reason: when its mechanism is mended, its test says so.
``make attack`` runs them one after the other and measures /healthz by the clock too; where other tests run at the same
time, only the work of the event loop during one answer is bounded.
"""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

from tests.attack.arena import HEALTH_MS_MAX, LOOP_MS_MAX, Arena
from tests.attack.attack import ATTACKS, Attack

for module in sorted(Path(__file__).parent.glob("kind*.py")):
    importlib.import_module(f"tests.attack.{module.stem}")


def marked(attack: Attack) -> object:
    marks = [pytest.mark.long] if attack.is_long else []
    if attack.still_open is not None:
        marks.append(pytest.mark.xfail(strict=True, raises=AssertionError, reason=attack.still_open))
    return pytest.param(attack, id=attack.id, marks=marks)


@pytest.mark.asyncio(loop_scope="session")
@pytest.mark.timeout(600)
@pytest.mark.parametrize("attack", [marked(attack) for attack in ATTACKS])
async def test_attack(arena: Arena, attack: Attack, record_property: object, pytestconfig: pytest.Config) -> None:
    assert callable(record_property)
    record_property("attack", attack.id)
    record_property("seed", str(arena.seed))
    print(f"seed {arena.seed}")
    result = await arena.run(attack)
    measured = f"honest 1..{result.honest_events}, /healthz p99 {result.p99_ms:.0f} ms"
    record_property("after", f"{result.after}; {measured}" if result.honest_events else result.after)
    print(result)
    assert result.p99_loop_ms <= LOOP_MS_MAX
    if pytestconfig.getoption("--attack-alone"):
        assert result.p99_ms <= HEALTH_MS_MAX


def test_no_two_attacks_have_one_name() -> None:
    assert len({attack.id for attack in ATTACKS}) == len({attack.name for attack in ATTACKS}) == len(ATTACKS)
