"""The verdict on an attempt, from the instance's report of its end, its tool's output, and its exit status. Pure.

The script's exit status proves little: `|| true`, a loop or a function swallows a failure, and civitdl exits with 0 on
every one. So each run of a tool is judged by its own end, civitdl by its own account, and only then the script by its
status. The cause is looked for in the words first, then in what the exit status means for the tool.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from service.events.causes import Cause, cause_in, concluded_in
from service.events.diagnosis import diagnose
from service.events.hints import hint_for
from service.events.ledger import Evidence, ToolFailure
from service.events.runs import Run, RunLedger
from service.runner.instance.ended import Ended

ERROR_CHARACTERS_MAX = 500

_NAMES_A_SHELL = re.compile(r"#! *(?:\S*/)?(?:env +(?:-S +)?)?(?:ba|da|z|k)?sh *\n")
_STOPS_AT_FAILURES = re.compile(r"^\s*set +(?:-\w*e|.*-o +errexit)", re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """The verdict. A failure has a cause, an error (what happened, in the tool's own words where it has some) and a
    hint (what a person can do)."""

    installed: bool
    exit_code: int | None = None
    cause: Cause | None = None
    error: str | None = None
    hint: str | None = None


def judge(
    evidence: Evidence,
    ended: Ended,
    *,
    may_leave_nothing: bool = False,
    may_end_with_a_test: bool = False,
    redact: Callable[[str], str] = str,
) -> Outcome:
    """The verdict on one attempt: the first source with an answer decides.

    ``may_leave_nothing``: the card needs no file, or its files are looked for afterwards. ``may_end_with_a_test``: see
    `goes_past_failures`. An attempt that keeps no ledger (an earlier version launched it) has no witnesses about its
    runs.
    """
    stopped = _stopped_by_instance(ended)
    if stopped is not None:
        return stopped
    if ended.exit_code is None:
        return _killed(evidence, ended)
    ledger = ledger_of(evidence, ended, redact)
    failures = ledger.failures() if ledger is not None else ()
    if failures:
        return _run_failed(failures, evidence, ended)
    if evidence.failures:
        return _tool_failed(evidence.failures[0], evidence, ended)
    is_explained = ledger is not None and (
        ledger.explains(ended.exit_code) or (may_end_with_a_test and _is_a_test(evidence, ledger, ended.exit_code))
    )
    if ended.exit_code != 0 and not is_explained:
        return _exit_failed(evidence, ended)
    if ledger is not None and not ledger.has_installed and not may_leave_nothing:
        return failed(Cause.NOTHING_INSTALLED, "the commands ended well, but no file was installed", ended.exit_code)
    return Outcome(installed=True, exit_code=ended.exit_code)


def goes_past_failures(script: str) -> bool:
    """Whether a script says by its first line that it is a shell's, and nowhere that it stops at the first failure. The
    status of such a script is that of whatever command came last, which often is a test that was false."""
    return _NAMES_A_SHELL.match(script) is not None and _STOPS_AT_FAILURES.search(script) is None


def _is_a_test(evidence: Evidence, ledger: RunLedger, exit_code: int) -> bool:
    """Status 1 after downloads that all succeeded, and no word of an error that is not one of theirs."""
    of_runs = {line for run in ledger.runs for line in run.words}
    return exit_code == 1 and ledger.has_installed and all(line in of_runs for line in evidence.error_lines)


def ledger_of(evidence: Evidence, ended: Ended, redact: Callable[[str], str] = str) -> RunLedger | None:
    """The runs of the attempt, as the instance said them with its end; None where it keeps no ledger."""
    if ended.ledger is None:
        return None
    return RunLedger.parse(ended.ledger, redact).with_the_log(evidence.runs)


def failed(cause: Cause, error: str, exit_code: int | None = None, hint: str | None = None) -> Outcome:
    """A failure with the hint that fits its cause and its error, if none is given."""
    error = error[:ERROR_CHARACTERS_MAX]
    return Outcome(installed=False, exit_code=exit_code, cause=cause, error=error, hint=hint or hint_for(cause, error))


def _stopped_by_instance(ended: Ended) -> Outcome | None:
    """The end as the instance reports it, whatever the tool printed; None if the card's script just ended."""
    if ended.instance_lost:
        return failed(Cause.INSTANCE_LOST, "the instance no longer has this install", ended.exit_code)
    if ended.tool_missing is not None:
        return failed(Cause.TOOL_MISSING, f"{ended.tool_missing} is not installed on the instance", ended.exit_code)
    if ended.refused is not None:
        return failed(Cause.PERMISSION, ended.refused, ended.exit_code)
    if ended.no_room is not None:
        needed, free = ended.no_room
        error = f"a download announces {needed:,} bytes more, and {free:,} are free on the instance"
        return failed(Cause.DISK_FULL, error)
    if ended.stalled:
        return failed(Cause.STALLED, "nothing was read or written for too long", ended.exit_code)
    if ended.timed_out:
        return failed(Cause.TIMEOUT, "the time limit for one resource has passed", ended.exit_code)
    return None


def _killed(evidence: Evidence, ended: Ended) -> Outcome:
    """The supervisor could not write how the script ended: it was killed, or the disk was full."""
    if ended.disk_full:
        return failed(Cause.DISK_FULL, "the instance's disk is full: not even the exit status could be written")
    said = next((line for line in reversed(evidence.error_lines) if cause_in(line) is not None), None)
    if said is not None and cause_in(said) is Cause.DISK_FULL:
        return failed(Cause.DISK_FULL, said)
    return failed(Cause.KILLED, "the install was killed on the instance: its exit status is unknown")


def _run_failed(runs: Sequence[Run], evidence: Evidence, ended: Ended) -> Outcome:
    """A run that failed or never ended, and that no later one made good: the first of them gives the cause."""
    run = runs[0]
    own_account = next((failure for failure in evidence.failures if failure.tool == run.tool), None)
    if own_account is not None:
        return _tool_failed(own_account, evidence, ended)
    if run.exit_code is None:
        cause, error, hint = Cause.KILLED, "it was killed before its end", None
        if ended.disk_full:
            cause, error = Cause.DISK_FULL, "the disk is full, and it has not ended"
    else:
        # Words that came after its end, through a pipe, can only belong to the one run that there is.
        words = run.words or (evidence.error_lines if len(runs) == 1 else ())
        own = Evidence(error_lines=words, tail=words, tool=run.tool)
        has_begun = bool(run.bytes or run.parts)
        found = diagnose(own, run.exit_code, address=run.address or "", has_begun=has_begun, disk_full=ended.disk_full)
        cause, hint = found.cause, found.hint
        error = f"exit status {run.exit_code}" + (f": {found.said}" if found.said else "")
    name = f': "{run.name}"' if run.name else ""
    more = f" (and {len(runs) - 1} more)" if len(runs) > 1 else ""
    outcome = failed(cause, f"{run.tool}{name}: {error}{more}", ended.exit_code)
    return outcome if hint is None else replace(outcome, hint=hint)


def _tool_failed(first: ToolFailure, evidence: Evidence, ended: Ended) -> Outcome:
    """A tool's own account, which names the first download that failed."""
    if first.error is None:
        return _unfinished(first, evidence, ended)
    cause = cause_in(first.error) or concluded_in(first.error)
    if cause is None and ended.disk_full:
        cause = Cause.DISK_FULL
    tool = f"{first.tool}: " if first.tool else ""
    name = f'"{first.name}": ' if first.name else ""
    return failed(cause or Cause.UNKNOWN, f"{tool}{name}{first.error}", ended.exit_code)


def _unfinished(first: ToolFailure, evidence: Evidence, ended: Ended) -> Outcome:
    """The download began, and the tool never said how it ended."""
    if ended.exit_code:
        return _exit_failed(evidence, ended)
    if ended.disk_full:
        return failed(Cause.DISK_FULL, "the instance's disk is full", ended.exit_code)
    name = f' of "{first.name}"' if first.name else ""
    error = f"{first.tool or 'the tool'} never said that the download{name} is complete"
    return failed(Cause.NO_SUCCESS_MARK, error, ended.exit_code)


def _exit_failed(evidence: Evidence, ended: Ended) -> Outcome:
    """An exit status other than 0: what the words and the status say."""
    code = ended.exit_code or 0
    found = diagnose(evidence, code, disk_full=ended.disk_full)
    error = f"exit status {code}" + (f": {found.said}" if found.said else "")
    return failed(found.cause, error, code, found.hint)
