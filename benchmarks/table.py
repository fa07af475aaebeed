"""The table of results: what was measured, for us and for a peer, and what was wanted."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """``value`` in ``unit``; ``ratio``: us by the peer. ``holds``: whether the goal is met, None without a goal."""

    name: str
    value: float
    unit: str
    peer: str = ""
    peer_value: float | None = None
    goal: str = ""
    holds: bool | None = None

    @property
    def ratio(self) -> float | None:
        return None if not self.peer_value else self.value / self.peer_value


def median(values: Sequence[float]) -> float:
    return statistics.median(values)


def show(rows: Sequence[Row]) -> None:
    table = Table("measurement", "us", "peer", "peer's", "ratio", "goal", "")
    for row in rows:
        table.add_row(
            row.name,
            f"{row.value:,.4g} {row.unit}" if row.value < 1000 else f"{row.value:,.0f} {row.unit}",
            row.peer,
            "" if row.peer_value is None else f"{row.peer_value:,.5g}",
            "" if row.ratio is None else f"{row.ratio:.2f}",
            row.goal,
            {None: "", True: "holds", False: "falls short"}[row.holds],
        )
    Console(width=150).print(table)
