"""Write the table of causes into docs/api.md: ``python -m scripts.causes_table``. A test says when it is stale."""

from __future__ import annotations

import re
from pathlib import Path

from service.events.event_types import Cause
from service.runner.outcome import HINTS
from service.runner.retry import may_heal

PAGE = Path(__file__).resolve().parents[1] / "docs/api.md"
_BETWEEN = re.compile(r"(?<=<!-- causes: made by scripts/causes_table\.py -->\n).*?(?=<!-- /causes -->)", re.DOTALL)


def table() -> str:
    """One row a cause, in the order of the API."""
    rows = ["| cause | retried by itself | hint |", "|---|---|---|"]
    rows += [f"| `{cause.value}` | {'yes' if may_heal(cause) else 'no'} | {HINTS[cause]} |" for cause in Cause]
    return "".join(f"{row}\n" for row in rows)


def with_table(page: str) -> str:
    """The page with the table as it should be."""
    assert len(_BETWEEN.findall(page)) == 1, "docs/api.md has no place for the table of causes"
    return _BETWEEN.sub(lambda _: table(), page)


if __name__ == "__main__":
    PAGE.write_text(with_table(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
