"""What is kept of a case in ``labels.json``: its exit status and the truth about it."""

from __future__ import annotations

from typing import Any

from tests.failures.cases import Case
from tests.failures.written import Written


def label_of(case: Case | Written, exit_code: int) -> dict[str, Any]:
    cause = case.cause if isinstance(case.cause, str) else list(case.cause)
    label: dict[str, Any] = {"exit_code": exit_code, "cause": cause, "heals": case.heals}
    label |= {name: value for name in ("tool", "error", "hint") if (value := getattr(case, name)) is not None}
    return label | ({"written": True} if isinstance(case, Written) else {})
