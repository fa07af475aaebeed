"""The figures of the releases: each file can be read, and says what was measured beside what."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import history
from benchmarks.table import Row

ROWS = [
    Row(name="(x) a thing", value=2.0, unit="ms", peer="another", peer_value=4.0, goal="<= 1", holds=True),
    Row(name="(y) a thing alone", value=3.0, unit="us"),
]


def test_the_figures_of_every_release_can_be_read() -> None:
    for release, rows in history.releases().items():
        assert rows, release
        assert all(row.name.startswith("(") and row.value > 0 and row.unit for row in rows)


def test_what_is_saved_is_read_again_and_replaces_only_its_own_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history, "HISTORY", tmp_path / "history")
    path = history.save(ROWS, load=0.5)
    assert history.read(path) == ROWS
    history.save([Row(name="(y) a thing alone", value=1.0, unit="us")], load=0.1)
    assert [row.value for row in history.read(path)] == [2.0, 1.0]
    assert history.ratios(history.releases()) == {"(x) a thing / another": {path.stem: 0.5}}
