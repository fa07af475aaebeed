"""The figures of the releases: each file can be read, and says what was measured beside what."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from benchmarks import history, streams
from benchmarks.inotify import one_for_each, without_inotify
from benchmarks.latency import LOOP
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


@contextmanager
def tail(path: Path, *options: str) -> Iterator[int]:
    with subprocess.Popen(["tail", *options, "-f", path], stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            # It has printed what the file holds; what comes next wakes it, or it looks for it.
            assert process.stdout.read(1) == b"x"
            time.sleep(0.2)
            yield process.pid
        finally:
            process.kill()


def test_tails_that_nothing_wakes_are_counted(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("x", encoding="utf-8")
    with tail(tmp_path / "log") as woken, tail(tmp_path / "log", "---disable-inotify") as looking:
        assert without_inotify([woken]) == 0
        assert without_inotify([woken, looking]) == 1
        with subprocess.Popen(["sleep", "60"]) as other:
            assert without_inotify([other.pid, looking]) == 1
            other.kill()
    assert without_inotify([woken, looking]) == 0


def fail_with(limit: int) -> None:
    assert limit >= 128 + 2 * 300
    raise LookupError


def test_the_limit_of_inotify_instances_is_raised_for_a_while(tmp_path: Path) -> None:
    instances, watches = tmp_path / "max_user_instances", tmp_path / "max_user_watches"
    instances.write_text("128\n", encoding="utf-8")
    watches.write_text("1000000\n", encoding="utf-8")
    with pytest.raises(LookupError), one_for_each(300, tmp_path):
        fail_with(int(instances.read_text(encoding="utf-8")))
    assert (instances.read_text(encoding="utf-8"), watches.read_text(encoding="utf-8")) == ("128\n", "1000000\n")
    with one_for_each(1, tmp_path):
        assert int(instances.read_text(encoding="utf-8")) == 132


def test_a_limit_that_may_not_be_raised_stays(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    # Not even root writes there.
    (tmp_path / "max_user_instances").symlink_to("/proc/sys/kernel/cap_last_cap")
    (tmp_path / "max_user_watches").write_text("1000000", encoding="utf-8")
    with one_for_each(300, tmp_path):
        pass
    [record] = caplog.records
    assert "max_user_instances stays" in record.getMessage()


def test_nothing_is_compared_where_tails_look_from_time_to_time() -> None:
    woken = streams.Turn(5.0, 30.0, True, {"the service": 0.5, LOOP: 0.3}, megabytes=161)
    looking = woken._replace(polling=172)
    case = streams.Case(300, by_bare=2.0, megabytes=160)
    compared = streams.case_rows(case, {streams.SERVICE: [woken], streams.BARE: [woken]})
    assert [row.holds for row in compared] == [None, True, None, None, False, None]
    assert compared[-1].value == pytest.approx(100)
    assert compared[-1].unit == "us"
    rows = streams.case_rows(case, {streams.SERVICE: [woken], streams.BARE: [looking]})
    assert all(row.ratio is None and not row.goal and row.holds is None for row in rows)
    [warning] = [row for row in rows if "look" in row.name]
    assert ("every second" in warning.name, warning.value, warning.unit) == (True, 172, "of 300")
