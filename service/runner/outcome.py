"""The verdict on an attempt, from the instance's report of its end, its tool's output, and its exit status. Pure.

civitdl exits with 0 on every failure, so its own account of its downloads outranks the exit status; a tool that
gives no such account is judged by its exit status. The cause is looked for in the words first, then in what the exit
status means for the tool that was recognised.
"""

from __future__ import annotations

from dataclasses import dataclass

from service.events.causes import CAUSES, Cause, cause_in
from service.events.ledger import Evidence, ToolFailure
from service.events.tools import cause_of_exit
from service.runner.instance.ended import Ended

ERROR_CHARACTERS_MAX = 500
COMMAND_NOT_FOUND = 127
_SIGNALS = {130: "SIGINT", 137: "SIGKILL", 143: "SIGTERM", 139: "SIGSEGV", 134: "SIGABRT"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """The verdict. A failure has a cause, an error (what happened, in the tool's own words where it has some) and a
    hint (what a person can do)."""

    installed: bool
    exit_code: int | None = None
    cause: Cause | None = None
    error: str | None = None
    hint: str | None = None


def judge(evidence: Evidence, ended: Ended) -> Outcome:
    """The verdict on one attempt: the first source with an answer decides."""
    stopped = _stopped_by_instance(ended)
    if stopped is not None:
        return stopped
    if ended.exit_code is None:
        return _killed(evidence, ended)
    if evidence.failures:
        return _tool_failed(evidence.failures[0], evidence, ended)
    if ended.exit_code == 0:
        return Outcome(installed=True, exit_code=0)
    return _exit_failed(evidence, ended)


def failed(cause: Cause, error: str, exit_code: int | None = None) -> Outcome:
    """A failure with the hint that belongs to its cause."""
    return Outcome(
        installed=False, exit_code=exit_code, cause=cause, error=error[:ERROR_CHARACTERS_MAX], hint=CAUSES[cause].hint
    )


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
        return failed(Cause.DISK_FULL, f"the resource needs {needed:,} bytes, and {free:,} are free on the instance")
    if ended.stalled:
        return failed(Cause.STALLED, "nothing was read or written for too long", ended.exit_code)
    if ended.timed_out:
        return failed(Cause.TIMEOUT, "the time limit for one resource has passed", ended.exit_code)
    return None


def _killed(evidence: Evidence, ended: Ended) -> Outcome:
    """The supervisor could not write how the script ended: it was killed, or the disk was full."""
    if ended.disk_full:
        return failed(Cause.DISK_FULL, "the instance's disk is full: not even the exit status could be written")
    said = _last_error(evidence)
    if said is not None and cause_in(said) is Cause.DISK_FULL:
        return failed(Cause.DISK_FULL, said)
    return failed(Cause.KILLED, "the install was killed on the instance: its exit status is unknown")


def _tool_failed(first: ToolFailure, evidence: Evidence, ended: Ended) -> Outcome:
    """A tool's own account, which names the first download that failed."""
    if first.error is None:
        return _unfinished(first, evidence, ended)
    cause = cause_in(first.error)
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
    """An exit status other than 0: the words decide the cause, then what the status means."""
    code = ended.exit_code or 0
    said = _last_error(evidence)
    cause = cause_in(said) if said is not None else None
    if ended.disk_full and cause in (None, Cause.PERMISSION):
        cause = Cause.DISK_FULL
    if code == COMMAND_NOT_FOUND and cause in (None, Cause.PERMISSION):
        cause = Cause.TOOL_MISSING
    if code in _SIGNALS and cause in (None, Cause.KILLED):
        return failed(Cause.KILLED, f"the command was ended by {_SIGNALS[code]}", code)
    if cause is None:
        cause = cause_of_exit(evidence.tool, code)
    words = said if said is not None else next(reversed(evidence.tail), None)
    error = f"exit status {code}" + (f": {words}" if words else "")
    return failed(cause or Cause.UNKNOWN, error, code)


def _last_error(evidence: Evidence) -> str | None:
    """The last line that names a cause, else the last one that reads like an error at all."""
    lines = (*reversed(evidence.error_lines), *reversed(evidence.tail))
    named = (line for line in lines if cause_in(line) is not None)
    return next(named, next(reversed(evidence.error_lines), None))
