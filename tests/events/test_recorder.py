"""The reader of the service's own records in a log: runs become events, and silent downloads become progress."""

from __future__ import annotations

from typing import Any

import pytest

from service.events.bounds import RUN_EVENTS_MAX
from service.events.parser import ProgressParser
from service.events.redaction import Redactor
from tests.events.test_runs import b64, begin, file

MARK = "0123456789abcdef" * 2
BAR = "x.bin                45%[====>     ]   4.50M  1.00MB/s    eta 5s"


def events(*lines: str, exit_code: int | None = 0, mark: str | None = MARK) -> list[dict[str, Any]]:
    parser = ProgressParser(title="Card", redact=Redactor(), mark=mark)
    new = parser.feed("".join(lines).encode()) + parser.close(exit_code)
    return [one.event.to_dict() for one in new]


def record(*records: str) -> str:
    return "".join(f"\n{MARK} {one}\n" for one in records)


def grown(token: str, size: int, name: str = "x.bin", word: str = "bytes") -> str:
    return f"{word} {token} {size} {b64(name)}"


def brief(found: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    """Type and what names it."""
    keys = {"progress": "downloaded_bytes", "run_started": "run", "run_ended": "exit_code", "output": "line"}
    return [(e["type"], e[keys.get(e["type"], "name" if "name" in e else "path")]) for e in found]


def test_a_run_is_two_events() -> None:
    url = "https://h/x.bin?token=abcdefgh"
    found = events(record(begin("a", "/m/x.bin", judged=0, url=url), "length a 10", "end a 8"))
    assert found == [
        {
            "type": "run_started",
            "run": 1,
            "tool": "wget",
            "destination": "/m/x.bin",
            "address": "https://h/x.bin?token=[redacted]",
            "judged": False,
        },
        {
            "type": "run_ended",
            "run": 1,
            "exit_code": 8,
            "bytes": None,
            "announced_bytes": 10,
            "destination": "/m/x.bin",
            "name": "x.bin",
        },
    ]


def test_a_silent_download_is_a_bar_of_its_own_name() -> None:
    found = events(
        record(begin("a", "/m/x.bin"), grown("a", 2), "length a 10", grown("a", 5), file("file", "a", "/m/x.bin", 10)),
        record("end a 0"),
    )
    assert brief(found) == [
        ("run_started", 1),
        ("stage_start", "x.bin"),
        ("progress", 2),
        ("progress", 5),
        ("stage_complete", "x.bin"),
        ("run_ended", 0),
    ]
    bars = [event for event in found if event["type"] == "progress"]
    assert [(b["stage"], b["percent"], b["total_bytes"], b["bytes_per_second"]) for b in bars] == [
        ("download", None, None, None),
        ("download", 50, 10, None),
    ]
    assert found[-1]["bytes"] == 10


def test_a_download_shorter_than_a_second_is_a_whole_bar() -> None:
    found = events(record(begin("a", "/m/x.bin", tool="curl"), file("file", "a", "/m/x.bin", 7), "end a 0"))
    assert brief(found)[1:4] == [("stage_start", "x.bin"), ("progress", 7), ("stage_complete", "x.bin")]
    assert found[2]["percent"] == 100


@pytest.mark.parametrize("status", [1, 8, 137])
def test_a_bad_end_completes_nothing(status: int) -> None:
    found = events(record(begin("a", "/m/x.bin"), grown("a", 2), f"end a {status}"))
    assert brief(found)[1:] == [("stage_start", "x.bin"), ("progress", 2), ("run_ended", status)]


def test_no_bar_of_a_tool_is_replaced_by_bytes() -> None:
    found = events(
        record(begin("a", "/m/x.bin")),
        f"Saving to: ‘x.bin’\n\r{BAR}",
        record(grown("a", 1)),
        f"\r{BAR}\r{BAR}",
        record(grown("a", 2)),
        record(grown("a", 3)),
    )
    figures = [event["downloaded_bytes"] for event in found if event["type"] == "progress"]
    assert figures == [4_718_592, 4_718_592, 4_718_592, 3]
    assert [event["name"] for event in found if event["type"] == "stage_start"] == ["x.bin"]


def test_bars_of_one_run_hide_the_bytes_of_each_run() -> None:
    """Nobody knows which run a bar belongs to: each record looks back to the one before it of the same run."""
    found = events(
        record(begin("a", "/m/x.bin"), begin("b", "/m/y.bin")),
        f"\r{BAR}\r",
        record(grown("a", 1), grown("b", 2, "y.bin"), grown("b", 3, "y.bin")),
    )
    assert [e["downloaded_bytes"] for e in found if e["type"] == "progress"] == [4_718_592, 3]


def test_a_quiet_bar_of_wget_has_the_name_of_its_run() -> None:
    cut = BAR.replace("x.bin", "a-very-long-name-of-")
    done = "a-very-long-name-of-100%[=========>]  10.00M  1.00MB/s    in 5s"
    path = "/m/a-very-long-name-of-a-file.bin"
    found = events(record(begin("a", path)), f"\r{cut}\r{done}\n", record("end a 0"))
    names = [(e["type"], e["name"]) for e in found if e["type"].startswith("stage")]
    assert names == [("stage_start", path[3:]), ("stage_complete", path[3:])]


def test_the_speed_of_a_silent_download_is_what_the_instance_measured() -> None:
    found = events(record(begin("a", "/m/x.bin"), grown("a", 2) + " -", grown("a", 5) + " 3", grown("a", 6) + " x"))
    assert [(e["downloaded_bytes"], e["bytes_per_second"]) for e in found if e["type"] == "progress"] == [
        (2, None),
        (5, 3),
    ]


CUT_BAR = BAR.replace("x.bin   ", "a-very-long-name-of")
WHOLE_CUT_BAR = "a-very-long-name-of 100%[=========>]  10.00M  1.00MB/s    in 5s"
LONG = "a-very-long-name-of-a-file.bin"


def test_a_cut_name_waits_for_the_records_of_its_run() -> None:
    found = events(
        record(begin("a", "/m", kind="dir")),
        f"\r{CUT_BAR}\r{CUT_BAR}",
        record(grown("a", 7, LONG)),
        f"\r{CUT_BAR}\r{WHOLE_CUT_BAR}\n",
        record(file("file", "a", f"/m/{LONG}"), "end a 0"),
    )
    assert brief(found)[1:] == [
        ("stage_start", LONG),
        ("progress", 7),
        ("progress", 4_718_592),
        ("progress", 10_485_760),
        ("stage_complete", LONG),
        ("run_ended", 0),
    ]


@pytest.mark.parametrize(
    ("records", "name"), [((file("file", "a", f"/m/{LONG}", 9), "end a 0"), LONG), (("end a 0",), LONG[:19])]
)
def test_a_cut_name_is_whole_at_the_end_of_a_short_run(records: tuple[str, ...], name: str) -> None:
    found = events(record(begin("a", "/m", kind="dir")), f"\r{CUT_BAR}\r{WHOLE_CUT_BAR}\n", record(*records))
    assert [(e["type"], e["name"]) for e in found if "name" in e and e["type"] != "run_ended"] == [
        ("stage_start", name),
        ("stage_complete", name),
    ]


def test_a_cut_name_of_a_run_of_several_files_does_not_wait() -> None:
    found = events(record(begin("a", "/m", kind="dir", url="http://h/x +1")), f"\r{CUT_BAR}\r{WHOLE_CUT_BAR}\n")
    assert [event["name"] for event in found if "name" in event] == [LONG[:19], LONG[:19]]


def test_a_cut_name_is_told_from_those_of_other_runs() -> None:
    found = events(
        record(begin("a", "/m", kind="dir"), begin("b", "/m", kind="dir"), grown("a", 3, LONG)),
        f"\r{CUT_BAR}\r{CUT_BAR.replace('a-very', 'b-very')}",
    )
    assert brief(found)[2:] == [("stage_start", LONG), ("progress", 3), ("progress", 4_718_592)]


METER = "  % Total    % Received % Xferd  Average Speed   Time    Time     Time  Current\n"
ROW = "\r 50 10000    0  5000    0     0   1000      0  0:00:10  0:00:05  0:00:05  1000"


def test_curl_waits_for_the_name_that_the_server_gives() -> None:
    lines = record(begin("a", "/m", tool="curl", kind="dir")), METER, ROW, "\n", record(grown("a", 7, "x.bin"))
    found = events(*lines, ROW, "\n", record(file("file", "a", "/m/x.bin"), "end a 0"))
    assert brief(found)[1:] == [
        ("stage_start", "x.bin"),
        ("progress", 7),
        ("progress", 5_000),
        ("stage_complete", "x.bin"),
        ("run_ended", 0),
    ]
    failed = events(*lines[:2], ROW, "curl: (22) The requested URL returned error: 404\n", record("end a 22"))
    assert brief(failed)[1:] == [("output", "curl: (22) The requested URL returned error: 404"), ("run_ended", 22)]


def test_curl_names_its_file_by_its_run_and_a_failed_one_is_not_complete() -> None:
    meter = "  % Total    % Received % Xferd  Average Speed   Time    Time     Time  Current\n"
    found = events(
        record(begin("a", "/m/a.bin", tool="curl")),
        meter,
        record("end a 0", begin("b", "/m/b.bin", tool="curl")),
        meter,
        "curl: (22) The requested URL returned error: 404\n",
        record("end b 22"),
    )
    names = [(e["type"], e["name"]) for e in found if e["type"].startswith("stage")]
    assert names == [("stage_start", "a.bin"), ("stage_complete", "a.bin"), ("stage_start", "b.bin")]


def test_what_a_tool_says_after_its_end_was_said_already() -> None:
    saved = "2026-01-01 00:00:00 (1.0 MB/s) - ‘x.bin’ saved [5/5]\n"
    found = events(record(begin("a", "/m/x.bin")), "Saving to: ‘x.bin’\n", record("end a 0"), saved)
    assert [e["type"] for e in found if e["type"].startswith("stage")] == ["stage_start", "stage_complete"]


def test_civitdl_ends_with_0_on_every_failure() -> None:
    found = events(record(begin("a", "/m", tool="civitdl", kind="dir")), 'Now downloading "X"...\n', record("end a 0"))
    assert [e["type"] for e in found] == ["run_started", "stage_start", "run_ended"]


def test_processes_without_a_shim_are_downloads_by_their_files() -> None:
    lines = record(grown("77", 1, "m.bin", "idle"), grown("77", 2, "m.bin", "idle"), grown("77", 3, "n.bin", "idle"))
    expected = [("stage_start", "m.bin"), ("progress", 1), ("progress", 2), ("stage_start", "n.bin"), ("progress", 3)]
    assert brief(events(lines, exit_code=1)) == expected
    assert brief(events(lines)) == [*expected, ("stage_complete", "m.bin"), ("stage_complete", "n.bin")]


def test_a_kept_file_and_a_warning() -> None:
    warn = f"warn daemon_ended {b64('a server was ended')}"
    found = events(record(begin("a", "/m/x.bin"), file("kept", "a", "/m/x.bin"), "end a 0", warn))
    assert [e["type"] for e in found] == ["run_started", "file_kept", "run_ended", "resource_warning"]
    assert found[1] == {"type": "file_kept", "path": "/m/x.bin", "bytes": 5}
    assert found[3] == {"type": "resource_warning", "code": "daemon_ended", "text": "a server was ended", "paths": []}


def test_only_the_mark_makes_a_record() -> None:
    line = f"{MARK} end a 0"
    assert events(line + "\n", mark=None) == [{"type": "output", "line": line, "cut": False}]
    assert brief(events(f"x{line}\n")) == [("output", f"x{line}")]
    assert brief(events(f"{MARK} end a\n")) == [("output", f"{MARK} end a")]


def test_a_record_is_neither_output_nor_evidence() -> None:
    parser = ProgressParser(mark=MARK)
    parser.feed(record(begin("a", "/m/Permission denied"), f"warn x {b64('ERROR 404')}").encode())
    assert (parser.evidence.tail, parser.evidence.error_lines) == ((), ())


def test_error_lines_belong_to_the_runs_that_live() -> None:
    parser = ProgressParser(mark=MARK)
    lines = [
        record(begin("a", "/m/a"), begin("b", "/m/b", tool="curl")),
        "curl: (22) The requested URL returned error: 404\n",
        record("end b 22"),
        "2026-01-01 00:00:00 ERROR 503: Service Unavailable.\n",
        record("end a 8", begin("c", "/m/c"), "end c 4"),
        "/m/c: Permission denied\n",
    ]
    parser.feed("".join(lines).encode())
    a, b, c = parser.evidence.runs.runs
    assert a.words == ("2026-01-01 00:00:00 ERROR 503: Service Unavailable.",)
    assert b.words == ("curl: (22) The requested URL returned error: 404",)
    assert c.words == ("/m/c: Permission denied",)


def test_the_same_bytes_give_the_same_events_however_they_were_cut() -> None:
    raw = (
        record(begin("a", "/m/x.bin"), grown("a", 1))
        + f"\r{BAR}\r"
        + record(
            grown("a", 2), grown("a", 3), grown("7", 1, "s.bin", "idle"), "end a 0", begin("b", "/m/y", tool="curl")
        )
        + "curl: (6) Could not resolve host\n"
        + record("end b 6")
    ).encode()
    whole = ProgressParser(mark=MARK)
    expected = whole.feed(raw) + whole.close(0)
    pieces = ProgressParser(mark=MARK)
    found = [new for n in range(len(raw)) for new in pieces.feed(raw[n : n + 1])] + pieces.close(0)
    assert found == expected
    stored = expected[5].source_offset
    assert stored is not None
    again = [new for new in expected if new.source_offset is None or new.source_offset > stored]
    assert [new for new in found if new.source_offset is None or new.source_offset > stored] == again


def test_runs_without_end_are_bounded() -> None:
    found = events(
        *(record(begin(str(n), f"/m/{n}"), file("kept", str(n), "/m/x"), f"end {n} 0") for n in range(3_000))
    )
    kinds = [event["type"] for event in found]
    assert kinds.count("run_started") == 1_000
    assert len(kinds) <= RUN_EVENTS_MAX
