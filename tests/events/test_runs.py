"""The records of runs: read from lines, added up to a ledger, and what counts as a failure there."""

from __future__ import annotations

import base64

import pytest

from service.events.redaction import Redactor
from service.events.run_records import Begin, End, Grown, Kept, record_of
from service.events.runs import RUNS_MAX, RunLedger


def b64(text: str) -> str:
    return base64.b64encode(text.encode()).decode() or "-"


def begin(token: str, path: str, *, tool: str = "wget", judged: int = 1, kind: str = "file", url: str = "") -> str:
    return f"begin {token} {tool} {judged} {kind} {b64(path)} {b64(url)} {tool}/1.21"


def file(word: str, token: str, path: str, size: int = 5) -> str:
    return f"{word} {token} {b64(path)} {size}"


def failed(*lines: str) -> list[str]:
    return [run.token for run in RunLedger.parse(lines, str).failures()]


def test_records_are_read() -> None:
    url = "https://h/x?token=abcdef123&type=Model"
    record = record_of(begin("1a", "/m/x", url=url), Redactor())
    assert record == Begin("1a", "wget", True, "file", "/m/x", "https://h/x?token=[redacted]&type=Model")
    assert record_of("begin 1 curl 0 - - - -", str) == Begin("1", "curl", False, "-", None, None)
    assert record_of("end 1a 137", str) == End("1a", 137)
    assert record_of(f"idle 77 12 {b64('m.bin')}", str) == Grown("77", 12, "m.bin", has_shim=False)
    assert record_of(file("kept", "1a", "/m/x"), str) == Kept("1a", "/m/x", 5)


@pytest.mark.parametrize(
    "line",
    [
        "",
        "end",
        "end 1",
        "end 1 1234",
        "end 1 -1",
        "end 1 1 1",
        "end ../x 1",
        "begin 1 wget 2 file - -",
        "begin 1 wget 1 pipe - -",
        "begin 1 wget 1 file %%% -",
        "begin 1 w/get 1 file - -",
        "bytes 1 99999999999999999999 -",
        "bytes 1 1",
        "kept 1 - 5",
        "file 1 eA 5",
        "part 1 eA== x",
        "warn a/b eA==",
        "format c:",
        "\x00",
        "é",
        "begin " + "9" * 100_000,
    ],
)
def test_what_is_not_a_record_is_none(line: str) -> None:
    assert record_of(line, str) is None
    assert RunLedger.parse([line], str) == RunLedger()


def test_texts_are_bounded_and_without_control_characters() -> None:
    record = record_of(begin("1", "/m/\x1b[31mred\x07" + "x" * 5_000), str)
    assert isinstance(record, Begin)
    assert record.destination is not None
    assert record.destination.startswith("/m/redx")
    assert len(record.destination) == 1_000


def test_a_ledger_is_bounded() -> None:
    lines = [begin(str(n), f"/m/{n}") for n in range(RUNS_MAX + 10)]
    assert len(RunLedger.parse(lines, str).runs) == RUNS_MAX


def test_a_run_fails_unless_a_later_one_of_its_destination_makes_it_good() -> None:
    assert failed(begin("1", "/m/x"), "end 1 4") == ["1"]
    assert failed(begin("1", "/m/x"), "end 1 4", begin("2", "/m/x", tool="curl"), "end 2 0") == []
    assert failed(begin("1", "/m/x"), "end 1 4", begin("2", "/m/./x"), "end 2 0") == []
    assert failed(begin("1", "/m/x"), "end 1 0", begin("2", "/m/x"), "end 2 4") == ["2"]
    assert failed(begin("1", "/m/x"), "end 1 4", begin("2", "/m/y"), "end 2 0") == ["1"]
    assert failed(begin("1", "/m/x"), "end 1 4", begin("2", "/m/x"), file("kept", "2", "/m/x"), "end 2 0") == []


def test_a_run_without_an_end_fails_and_a_probe_never_does() -> None:
    assert failed(begin("1", "/m/x")) == ["1"]
    assert failed(begin("1", "/m/x", judged=0), "end 1 8", begin("2", "-", judged=0)) == []


def test_in_a_folder_the_address_tells_the_files_apart() -> None:
    one = begin("1", "/m", kind="dir", url="https://a/one.bin?x=1")
    other = begin("2", "/m", kind="dir", url="https://a/other.bin")
    mirror = begin("3", "/m", kind="dir", url="https://b/one.bin")
    assert failed(one, "end 1 4", other, "end 2 0") == ["1"]
    assert failed(one, "end 1 4", mirror, "end 3 0") == []


def test_a_kept_file_is_whole_whatever_the_tool_says() -> None:
    assert failed(begin("1", "/m/x", tool="curl"), file("kept", "1", "/m/x"), "end 1 22") == []


def test_what_was_installed_and_what_was_left_half_done() -> None:
    assert not RunLedger.parse([begin("1", "-", judged=0), "end 1 0"], str).has_installed
    assert RunLedger.parse([begin("1", "/m/x"), "end 1 0"], str).has_installed
    assert RunLedger.parse([file("file", "script", "/m/x")], str).has_installed
    assert RunLedger.parse([file("kept", "9", "/m/x")], str).has_installed
    half = RunLedger.parse([begin("1", "/m/x"), file("part", "1", "/m/x.part"), "end 1 4"], str)
    assert (half.parts, half.has_installed) == (("/m/x.part",), False)


def test_the_log_adds_words_and_what_the_bound_cut_off() -> None:
    log = RunLedger.parse([begin("1", "/m/a"), "end 1 8", begin("2", "/m/b"), "end 2 0"], str)
    ledger = RunLedger.parse(["end 1 8", begin("2", "/m/b"), "end 2 0"], str).with_the_log(log)
    assert [run.token for run in ledger.runs] == ["1", "2"]
    assert [run.token for run in ledger.failures()] == ["1"]
