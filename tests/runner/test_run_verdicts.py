"""The verdict by the ledger of runs: what each run did counts, whatever the script's exit status says."""

from __future__ import annotations

import pytest

from service.events.causes import CAUSES, Cause
from service.events.parser import ProgressParser
from service.runner.instance.ended import Ended
from service.runner.outcome import Outcome, goes_past_failures, judge
from tests.events.test_recorder import MARK, record
from tests.events.test_runs import begin, file


def verdict(
    *log: str, exit_code: int | None = 0, nothing: bool = False, test: bool = False, **ended: object
) -> Outcome:
    """Of an attempt whose log this is; its ledger holds the same records."""
    text = "".join(log)
    parser = ProgressParser(mark=MARK)
    parser.feed(text.encode())
    parser.close(exit_code)
    lines = [line.removeprefix(MARK + " ") for line in text.split("\n") if line.startswith(MARK)]
    ledger = tuple(line for line in lines if line.split(" ")[0] not in ("bytes", "idle"))
    end = Ended(exit_code=exit_code, ledger=ledger, **ended)  # type: ignore[arg-type]
    return judge(parser.evidence, end, may_leave_nothing=nothing, may_end_with_a_test=test)


GOOD = record(begin("1", "/m/a.bin"), "end 1 0")
NOT_FOUND = record(begin("2", "/m/b.bin")) + "2026-01-01 00:00:00 ERROR 404: Not Found.\n" + record("end 2 8")


def test_good_runs_and_a_good_script_are_installed() -> None:
    assert verdict(GOOD) == Outcome(installed=True, exit_code=0)


def test_a_script_that_ends_with_a_false_test_is_judged_by_its_runs() -> None:
    healed = NOT_FOUND, record(begin("3", "/m/b.bin", tool="curl"), "end 3 0")
    assert verdict(GOOD, exit_code=1, test=True) == Outcome(installed=True, exit_code=1)
    assert verdict(*healed, exit_code=1, test=True).installed
    for log, exit_code in (
        (("",), 1),
        ((GOOD,), 2),
        ((NOT_FOUND,), 1),
        ((GOOD, "python3: can't open file 'setup.py': [Errno 2] No such file or directory\n"), 1),
    ):
        assert not verdict(*log, exit_code=exit_code, test=True).installed
    assert not verdict(GOOD, exit_code=1).installed


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        ("#!/bin/bash\nfalse\n", True),
        ("#!/usr/bin/env bash\n", True),
        ("#! /bin/sh\nset -u\n", True),
        ("#!/bin/bash -e\nfalse\n", False),
        ("#!/bin/bash\nset -euo pipefail\n", False),
        ("#!/bin/bash\n  set -o errexit\n", False),
        ("#!/usr/bin/env python3\n", False),
        ("false\n", False),
        ("", False),
    ],
)
def test_a_script_for_plain_shell_says_so(script: str, expected: bool) -> None:
    assert goes_past_failures(script) is expected


def test_a_failure_that_the_script_swallowed_is_one() -> None:
    outcome = verdict(GOOD, NOT_FOUND, record(begin("3", "/m/c.bin"), "end 3 0"))
    assert (outcome.installed, outcome.cause, outcome.exit_code) == (False, Cause.NOT_FOUND, 0)
    assert outcome.error is not None
    assert outcome.error.startswith('wget: "b.bin": exit status 8: ')
    assert "ERROR 404" in outcome.error


def test_a_later_run_of_the_same_destination_heals() -> None:
    assert verdict(NOT_FOUND, record(begin("3", "/m/b.bin", tool="curl"), "end 3 0")).installed


def test_the_first_of_several_failures_gives_the_cause() -> None:
    outcome = verdict(NOT_FOUND, record(begin("3", "/m/c.bin"), "end 3 4"))
    assert outcome.cause is Cause.NOT_FOUND
    assert outcome.error is not None
    assert outcome.error.endswith("(and 1 more)")


@pytest.mark.parametrize(
    ("tool", "status", "cause"),
    [
        ("wget", 4, Cause.NETWORK),
        ("wget", 5, Cause.TLS),
        ("wget", 6, Cause.AUTH_REQUIRED),
        ("curl", 6, Cause.DNS),
        ("curl", 18, Cause.NETWORK),
        ("curl", 60, Cause.TLS),
        ("aria2c", 3, Cause.NOT_FOUND),
        ("aria2c", 9, Cause.DISK_FULL),
        ("aria2c", 19, Cause.DNS),
        ("aria2c", 24, Cause.AUTH_REQUIRED),
    ],
)
def test_a_quiet_tool_speaks_by_its_exit_status(tool: str, status: int, cause: Cause) -> None:
    outcome = verdict(record(begin("1", "/m/a.bin", tool=tool), f"end 1 {status}"), exit_code=status)
    assert (outcome.installed, outcome.cause, outcome.exit_code) == (False, cause, status)
    assert outcome.error is not None
    assert outcome.error.startswith(f'{tool}: "a.bin": exit status {status}')


def test_a_run_without_an_end_was_killed() -> None:
    outcome = verdict(GOOD, record(begin("2", "/m/b.bin")))
    assert (outcome.cause, outcome.error) == (Cause.KILLED, 'wget: "b.bin": it was killed before its end')
    assert verdict(record(begin("2", "/m/b.bin")), disk_full=True).cause is Cause.DISK_FULL
    assert verdict(record(begin("2", "/m/b.bin"), "end 2 137")).cause is Cause.KILLED


def test_what_the_instance_says_comes_first() -> None:
    assert verdict(NOT_FOUND, exit_code=143, stalled=True).cause is Cause.STALLED
    assert verdict(GOOD, exit_code=None).cause is Cause.KILLED


def test_nothing_installed_is_a_failure_unless_the_card_says_so() -> None:
    outcome = verdict("hello\n")
    assert (outcome.installed, outcome.cause) == (False, Cause.NOTHING_INSTALLED)
    assert outcome.hint == CAUSES[Cause.NOTHING_INSTALLED].hint
    assert "`files`" in outcome.hint
    assert "installs: nothing" in outcome.hint
    assert verdict("hello\n", nothing=True).installed
    assert verdict(record(file("file", "script", "/m/x"))).installed
    assert verdict(record(file("kept", "index", "/m/x"))).installed
    assert not verdict(record(begin("1", "-", judged=0, kind="-"), "end 1 0")).installed


def test_a_probe_fails_nothing_and_installs_nothing() -> None:
    probe = record(begin("1", "-", judged=0, kind="-"), "end 1 8")
    assert verdict(probe, record(begin("2", "/m/a.bin"), "end 2 0")).installed
    assert verdict(probe).cause is Cause.NOTHING_INSTALLED


def test_the_scripts_own_failure_after_good_runs_stays_one() -> None:
    outcome = verdict(GOOD, "bash: line 3: unzip: command not found\n", exit_code=127)
    assert (outcome.cause, outcome.exit_code) == (Cause.TOOL_MISSING, 127)
    assert not verdict(GOOD, exit_code=1).installed


def test_curl_on_a_whole_file_is_whole() -> None:
    whole = record(begin("1", "/m/a.bin", tool="curl")) + "curl: (22) The requested URL returned error: 416\n"
    assert verdict(whole, record("end 1 22"), exit_code=22).installed
    assert verdict(record(begin("1", "/m/a.bin", tool="curl"), file("kept", "1", "/m/a.bin"), "end 1 22")).installed
    half = whole + record(file("part", "1", "/m/a.bin.part"), "end 1 22")
    assert not verdict(half, exit_code=22).installed
    assert not verdict(whole, record("end 1 22"), exit_code=1).installed


def test_civitdls_books_come_after_the_runs() -> None:
    run = record(begin("1", "/m", tool="civitdl", kind="dir")) + 'Now downloading "X"...\n' + record("end 1 0")
    assert verdict(run).cause is Cause.NO_SUCCESS_MARK
    assert verdict(run, NOT_FOUND).cause is Cause.NOT_FOUND


def test_an_attempt_without_a_ledger_is_judged_by_its_words_and_status() -> None:
    parser = ProgressParser(mark=MARK)
    parser.feed(NOT_FOUND.encode())
    assert judge(parser.evidence, Ended(exit_code=0)).installed
    assert judge(parser.evidence, Ended(exit_code=8)).cause is Cause.NOT_FOUND


def test_hostile_ledgers_are_only_read() -> None:
    lines = ("", "begin", "\x00" * 100, "end x 0", "begin 1 wget 1 file !!! -", "part 1 - -", "🜁 " * 500)
    outcome = judge(ProgressParser().evidence, Ended(exit_code=0, ledger=lines))
    assert outcome.cause is Cause.NOTHING_INSTALLED
