"""The figures of each release: a JSON file in ``history/``, written by ``--save``, and their plot in ``docs/``.

A figure of one machine says little about another: the plot shows the ratios to a peer that was measured in the same
run, and the file says how busy the machine was before it.
"""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterable
from dataclasses import asdict, fields
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks.table import Row

HISTORY = Path(__file__).parent / "history"
PLOT = Path(__file__).parents[1] / "docs" / "benchmarks.svg"
_NAMES = {field.name for field in fields(Row)}


def save(rows: Iterable[Row], load: float) -> Path:
    """Write the rows into the file of this version; rows of parts that were not run stay as they are there."""
    path = HISTORY / f"{version('resource-installer')}.json"
    known = {(row.name, row.peer): row for row in read(path)} if path.exists() else {}
    known |= {(row.name, row.peer): row for row in rows}
    HISTORY.mkdir(exist_ok=True)
    found = {
        "python": platform.python_version(),
        "cores": os.cpu_count(),
        "load_before": round(load, 1),
        "rows": [
            {name: value for name, value in asdict(row).items() if value not in (None, "")} for row in known.values()
        ],
    }
    path.write_text(json.dumps(found, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return path


def read(path: Path) -> list[Row]:
    """The rows of one release."""
    rows: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))["rows"]
    return [Row(**{name: value for name, value in row.items() if name in _NAMES}) for row in rows]


def releases() -> dict[str, list[Row]]:
    """The rows of each release, the oldest first."""
    paths = sorted(HISTORY.glob("*.json"), key=lambda path: tuple(map(int, path.stem.split("."))))
    return {path.stem: read(path) for path in paths}


def ratios(history: dict[str, list[Row]]) -> dict[str, dict[str, float]]:
    """Of each measurement that has a peer: its ratio by release."""
    found: dict[str, dict[str, float]] = {}
    for release, rows in history.items():
        for row in rows:
            if row.ratio is not None:
                found.setdefault(f"{row.name} / {row.peer}", {})[release] = row.ratio
    return found


def plot() -> None:
    """Draw the ratios by release; a measurement is a line."""
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot

    history = releases()
    places = {release: place for place, release in enumerate(history)}
    # Without a date and with fixed ids: the same figures make the same file.
    matplotlib.rcParams["svg.hashsalt"] = "benchmarks"
    figure, axes = pyplot.subplots(figsize=(11, 7), layout="constrained")
    for number, (name, by_release) in enumerate(sorted(ratios(history).items())):
        # matplotlib has ten colours; each ten more lines get another mark.
        mark = "os^Dv"[number // 10 % 5]
        axes.plot([places[release] for release in by_release], list(by_release.values()), marker=mark, label=name)
    axes.set_yscale("log")
    axes.set_xticks(list(places.values()), list(places))
    axes.set_ylabel("the service by its peer, in the same run")
    axes.axhline(1.0, color="grey", linewidth=0.8)
    axes.legend(fontsize="x-small", loc="center left", bbox_to_anchor=(1.0, 0.5))
    figure.savefig(PLOT, metadata={"Date": None})
    pyplot.close(figure)
