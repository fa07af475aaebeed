"""Write the table of causes into docs/api.md: ``python -m scripts.causes_table``. A test says when it is stale."""

from __future__ import annotations

import re
from pathlib import Path

from service.events.causes import CAUSES, Cause

PAGE = Path(__file__).resolve().parents[1] / "docs/api.md"
_BETWEEN = re.compile(r"(?<=<!-- causes: made by scripts/causes_table\.py -->\n).*?(?=<!-- /causes -->)", re.DOTALL)


def table() -> str:
    """One row a cause, in the order of the API."""
    rows = ["| cause | retried by itself | hint |", "|---|---|---|"]
    for row in map(CAUSES.__getitem__, Cause):
        rows.append(f"| `{row.cause.value}` | {'yes' if row.is_transient else 'no'} | {row.hint} |")
    return "".join(f"{row}\n" for row in rows)


def with_table(page: str) -> str:
    """The page with the table as it should be."""
    assert len(_BETWEEN.findall(page)) == 1, "docs/api.md has no place for the table of causes"
    return _BETWEEN.sub(lambda _: table(), page)


if __name__ == "__main__":
    PAGE.write_text(with_table(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
