"""Why a command failed, from what it printed and its exit status: the cause, the line that explains it, a hint. Pure.

The words decide first, because a status means many things; then what a tool concludes after any failure; then what the
status means for the tool that ended with it. Where nothing looks like an error, the last plain line is quoted.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from service.events.causes import Cause, cause_in, concluded_in, sentence_cause, status_in
from service.events.hints import EXPIRED, NO_WORDS, NO_WORDS_FROM_DISK, NO_WORDS_FROM_SITE, hint_for
from service.events.ledger import Evidence
from service.events.line_kinds import unwrapped
from service.events.tools import exit_status

COMMAND_NOT_FOUND = 127
_NOT_EXECUTABLE = 126
_SIGNALS = {
    129: "SIGHUP",
    130: "SIGINT",
    131: "SIGQUIT",
    134: "SIGABRT",
    135: "SIGBUS",
    136: "SIGFPE",
    137: "SIGKILL",
    139: "SIGSEGV",
    143: "SIGTERM",
}

# A command that reads what an earlier one should have written names a cause only if nothing before it does.
_FOLLOWS = re.compile(
    r"^(?!wget|curl|aria2c).*(?:cannot|can't) (?:stat|open|access|find|read)\b|^(?:mv|cat|unzip|tar|gzip|rm|ls): |"
    r"end-of-central-directory|badzipfile|not a zip file|safetensorerror|invalid load key",
    re.IGNORECASE,
)
# What comes after a half file: a refusal then is an address that expired, unless another file began in between.
_CUT = re.compile(
    r"closed at byte [1-9]|read error at byte [1-9]|transfer closed with \d+ bytes|incompleteread\([1-9]|"
    r"end of response with \d+ bytes",
    re.IGNORECASE,
)
_BEGINS = re.compile(r"^--\d{4}-\d\d-\d\d [\d:]{8}--  (?!\(try:)")
# aria2c's last table gives the average speed of a download that failed.
_CAME = re.compile(r"^[0-9a-f]{6} *\|ERR *\| *[\d.]*[1-9][\d.]*(?:[KMG]i)?B/s\|")
# bash names the script that it runs by its path on the instance, which tells nobody anything.
_CARD_PATH = re.compile(r"^\S*/\.local/state/resource-installer/[\w-]+/[\w-]+/card(?=: )")
_REFUSED_AFTER_CUT = (400, 401, 403, 410)


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnosis:
    """``said``: the line that explains, or what the exit status means; None where nothing says anything."""

    cause: Cause
    said: str | None
    hint: str


def diagnose(
    evidence: Evidence,
    exit_code: int,
    *,
    tool: str | None = None,
    address: str = "",
    has_begun: bool = False,
    disk_full: bool = False,
) -> Diagnosis:
    """``tool``: the one that ended with this status; if None, the one whose output was recognised last. ``address``:
    from where it loaded. ``has_begun``: bytes of its file came before it failed. ``disk_full``: the disk is, at the
    end."""
    tool = tool or evidence.tool
    said, cause = _explained(evidence)
    status = exit_status(tool, exit_code)
    near = "\n".join((address, tool or "", *evidence.tail))
    if disk_full and cause in (None, Cause.PERMISSION):
        cause = Cause.DISK_FULL
    if exit_code in (COMMAND_NOT_FOUND, _NOT_EXECUTABLE) and cause in (None, Cause.PERMISSION):
        cause = Cause.TOOL_MISSING if exit_code == COMMAND_NOT_FOUND else Cause.PERMISSION
    if exit_code in _SIGNALS and cause in (None, Cause.KILLED):
        said = f"the command was ended by {_SIGNALS[exit_code]}"
        return Diagnosis(cause=Cause.KILLED, said=said, hint=hint_for(Cause.KILLED, said))
    has_words = said is not None or evidence.last_plain is not None
    if cause is None:
        said, cause = _concluded(evidence, said)
    if cause is None and status is not None:
        cause = status.cause
    cause = cause or Cause.UNKNOWN
    if _expired(evidence, cause, has_begun):
        return Diagnosis(
            cause=Cause.NETWORK, said=said or (status.meaning if status is not None else None), hint=EXPIRED
        )
    said = said or evidence.last_plain or (status.meaning if status is not None else None)
    hint = hint_for(cause, f"exit status {exit_code}: {said or ''}", near)
    if not has_words and cause in (Cause.NOT_FOUND, Cause.FORBIDDEN):
        hint = NO_WORDS_FROM_SITE
    elif not has_words and cause is Cause.PERMISSION:
        hint = NO_WORDS_FROM_DISK
    elif not evidence.tail and cause is Cause.UNKNOWN:
        hint = NO_WORDS
    return Diagnosis(cause=cause, said=said, hint=hint)


def _explained(evidence: Evidence) -> tuple[str | None, Cause | None]:
    """The line that explains and the cause that it names: the last error that names one, and of these one that does
    not merely miss what an earlier command should have made; else the last error, or a plain line that is nothing but
    the words of a cause."""
    lines = [_CARD_PATH.sub("card", line) for line in unwrapped(evidence.error_lines)]
    named = [(line, cause) for line in reversed(lines) if (cause := cause_in(line)) is not None]
    own = [pair for pair in named if not _FOLLOWS.search(pair[0])]
    if named:
        return (own or named)[0]
    if lines:
        return lines[-1], None
    if evidence.last_plain is not None:
        cause = sentence_cause(evidence.last_plain)
        return (evidence.last_plain, cause) if cause is not None else (None, None)
    return None, None


def _concluded(evidence: Evidence, said: str | None) -> tuple[str | None, Cause | None]:
    pairs = ((line, concluded_in(line)) for line in reversed(evidence.error_lines))
    return next(((line, cause) for line, cause in pairs if cause is not None), (said, None))


def _expired(evidence: Evidence, cause: Cause, has_begun: bool) -> bool:
    """The site gave this file and now refuses it: its signed address expired, and the first one makes a new one."""
    if cause not in (Cause.FORBIDDEN, Cause.AUTH_REQUIRED, Cause.NOT_FOUND):
        return False
    if has_begun:
        return True
    lines = evidence.tail
    refusals = [n for n, line in enumerate(lines) if status_in(line) in _REFUSED_AFTER_CUT]
    if not refusals:
        return False
    if any(_CAME.match(line) for line in lines[refusals[-1] :]):
        return True
    for line in reversed(lines[: refusals[-1]]):
        if _CUT.search(line):
            return True
        if _BEGINS.match(line):
            return False
    return False
