"""Every case that is data: run by the real tools, over a real sshd, through the real service."""

from __future__ import annotations

from typing import Any

import pytest

from tests.realwork.case import Case
from tests.realwork.cases import CASES
from tests.realwork.stage import Stage, check


def marked(case: Case) -> Any:
    marks = [pytest.mark.realwork(case.id), *([pytest.mark.long] if case.is_long else [])]
    return pytest.param(case, id=case.id, marks=marks)


@pytest.mark.asyncio(loop_scope="session")
@pytest.mark.parametrize("case", [marked(case) for case in CASES])
async def test_case(stage: Stage, case: Case) -> None:
    check(case.expect, await stage.run(case))


def test_each_case_has_an_id_of_its_own() -> None:
    assert len({case.id for case in CASES}) == len(CASES)
