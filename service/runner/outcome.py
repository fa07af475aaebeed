"""Decides how an attempt ended, from its exit status *and* what its tool said. Pure.

civitdl exits with 0 on every failure, so its sentences decide; what never speaks civitdl's language is judged by its
exit status. A cause is looked for in the words first, then in the exit status of the tool that was recognised.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from service.events.event_types import Cause
from service.events.ledger import Evidence
from service.runner.instance.ended import Ended

ERROR_CHARACTERS_MAX = 500
# So many causes are looked for before an HTTP status is.
WORDS_BEFORE_STATUS = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """The verdict. A failure has a cause, an error (what happened, in the tool's own words where it has some) and a
    hint (what a person can do)."""

    installed: bool
    exit_code: int | None = None
    cause: Cause | None = None
    error: str | None = None
    hint: str | None = None


HINTS: dict[Cause, str] = {
    Cause.AUTH_REQUIRED: "This download needs an account: set INSTALLER_CIVITAI_API_KEY (or the tool's own key) and "
    "install again.",
    Cause.FORBIDDEN: "The site refuses this file: it may be in early access or need rights that the key does not have.",
    Cause.NOT_FOUND: "The file or the version is gone: check the address on the card.",
    Cause.RATE_LIMITED: "The site asks for fewer requests: wait a few minutes and install again.",
    Cause.SERVER_ERROR: "The site has a problem of its own: install again later.",
    Cause.NETWORK: "The connection between the instance and the site broke: install again.",
    Cause.DNS: "The instance cannot resolve the site's name: check its network and DNS settings.",
    Cause.TLS: "The secure connection failed: check the instance's clock, certificates and proxy.",
    Cause.DISK_FULL: "The instance's disk is full: free some space or rent a larger disk, then install again.",
    Cause.PERMISSION: "The folder cannot be written: check ui_home and the rights of ssh_user on the instance.",
    Cause.TOOL_MISSING: "Install the tool on the instance, or name its folder in INSTALLER_REMOTE_PATH.",
    Cause.TIMEOUT: "The download took longer than INSTALLER_RESOURCE_TIMEOUT allows: raise it.",
    Cause.KILLED: "The download was killed on the instance, often for lack of memory: look at the instance's log.",
    Cause.INSTANCE_LOST: "The instance was restarted, replaced or is gone: start the install again on a running one.",
    Cause.SSH_AUTH: "The instance does not accept the key: check INSTALLER_SSH_KEY and ssh_user.",
    Cause.SSH_UNREACHABLE: "No SSH server answers there: check that the instance runs, and its host and port.",
    Cause.HOST_KEY_CHANGED: "Another machine may answer at this address: if you trust it, start the install again with "
    "host_key_sha256 set to the fingerprint it shows.",
    Cause.DEPENDENCY_FAILED: "Mend the resource that this one depends on, then install again.",
    Cause.NO_SUCCESS_MARK: "The tool ended without saying that the file is complete: install again, and look at the "
    "last lines of its output.",
    Cause.STALLED: "Nothing moved for INSTALLER_STALL_TIMEOUT: install again; a site that hangs may need another "
    "address on the card.",
    Cause.VERIFICATION_FAILED: "The file on the instance is not what it should be: delete it there, check the address "
    "on the card, and install again.",
    Cause.CANCELLED: "Somebody ended this job: retry it, or delete what it left on the instance.",
    Cause.UNKNOWN: "Look at the last lines of the output.",
}

# The first that is found decides: what is specific comes before what merely accompanies it (a name that cannot be
# resolved is also a connection that failed).
_WORDS: tuple[tuple[Cause, re.Pattern[str]], ...] = tuple(
    (cause, re.compile(pattern, re.IGNORECASE))
    for cause, pattern in (
        # A shell names the whole command that was killed: its options say nothing about the cause.
        (Cause.KILLED, r"\bline \d+: +\d+ Killed\b"),
        (
            Cause.DISK_FULL,
            r"no space left|disk quota exceeded|\[errno (?:28|122)\]|not enough (?:disk )?space|disk full",
        ),
        (
            Cause.DNS,
            r"name or service not known|name resolution|getaddrinfo|nameresolutionerror|could not resolve|"
            r"unable to resolve|nodename nor servname|no address associated|name resolution failed|no such host",
        ),
        (Cause.NETWORK, r"proxy tunnell?ing failed|tunnel connection failed|http code \d+ from proxy"),
        (
            Cause.TLS,
            r"certificate|sslerror|\bssl\b.{0,40}(?:error|fail|alert|connect|handshake|eof)|\bssl routines\b|"
            r"\btls\b.{0,40}(?:error|fail|alert|handshake)|handshake failure|unable to establish ssl",
        ),
        (
            Cause.TOOL_MISSING,
            r"^resource-installer: [\w-]+ is not installed|command not found|no module named|"
            r"(?:\bsh|: \d{1,6}): [^\s:]{1,200}: not found$",
        ),
        (
            Cause.AUTH_REQUIRED,
            r"valid api key|requires? (?:a )?login|authentication (?:is )?(?:required|failed)|"
            r"username/password authentication failed|authorization failed|unauthorized|could not read username|"
            r"gated repo",
        ),
        (Cause.FORBIDDEN, r"early access|\bforbidden\b|access denied"),
        (Cause.RATE_LIMITED, r"too many requests|rate.?limit"),
        (
            Cause.NOT_FOUND,
            r"\b(?:404|410)\b.{0,20}(?:not found|gone)|not found\.?$|does not exist for model|repository not found|"
            r"resource not found|no version metadata|file not found in |^error: .{0,200} not found\b(?! *\. *\[errno)",
        ),
        (
            Cause.SERVER_ERROR,
            r"internal server error|bad gateway|service unavailable|gateway time-?out|server error|under maint|"
            r"unable to parse metadata",
        ),
        (
            Cause.NETWORK,
            r"connection (?:broken|aborted|reset|refused|closed|timed out|error)|incompleteread|timed? ?out|"
            r"unreachable|connectionerror|max retries exceeded|remotedisconnected|proxyerror|read error|failed: |"
            r"newconnectionerror|broken pipe|remote end (?:closed|hung)|transfer closed|early eof|empty reply|"
            r"no route to host|failed to connect|couldn't connect|got eof",
        ),
        (
            Cause.PERMISSION,
            r"permission denied|read-only file system|operation not permitted|\[errno (?:1|13|30)\]|cannot write to|"
            r"not writable|fail(?:ed|ure)(?: to)? writ(?:e|ing)|no such file or directory|not a directory",
        ),
        (Cause.KILLED, r"^killed$|out of memory|memoryerror|cannot allocate memory"),
    )
)
_STATUS = re.compile(
    r"(?:status code:?|http/?[\d.]*|\berror:?|\bresponse\.\.\.|returned error:|status[:=]|\bcode[:=]?|"
    r"\(\d+\) the requested url returned error:|errorcode=22.{0,80}status=)\s*([45]\d\d)\b",
    re.IGNORECASE,
)
_SIGNALS = {130: "SIGINT", 137: "SIGKILL", 143: "SIGTERM", 139: "SIGSEGV", 134: "SIGABRT"}
_EXIT_CODES: dict[str, dict[int, Cause]] = {
    "wget": {3: Cause.PERMISSION, 4: Cause.NETWORK, 5: Cause.TLS, 6: Cause.AUTH_REQUIRED},
    "curl": {
        **dict.fromkeys((5, 6), Cause.DNS),
        **dict.fromkeys((7, 18, 28, 52, 55, 56, 92), Cause.NETWORK),
        **dict.fromkeys((35, 51, 58, 60, 77), Cause.TLS),
        23: Cause.PERMISSION,
        67: Cause.AUTH_REQUIRED,
        78: Cause.NOT_FOUND,
    },
    "aria2c": {
        **dict.fromkeys((2, 6, 21), Cause.NETWORK),
        **dict.fromkeys((3, 4), Cause.NOT_FOUND),
        9: Cause.DISK_FULL,
        **dict.fromkeys((15, 16, 17, 18), Cause.PERMISSION),
        19: Cause.DNS,
        24: Cause.AUTH_REQUIRED,
        29: Cause.SERVER_ERROR,
    },
}


def judge(evidence: Evidence, ended: Ended) -> Outcome:
    """The verdict about one attempt."""
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
    if ended.exit_code is None:
        return _without_status(evidence, ended)
    if ended.exit_code == 0 and not evidence.failures:
        return Outcome(installed=True, exit_code=0)
    if evidence.failures:
        return _civitdl_failed(evidence, ended)
    return _exit_failed(evidence, ended)


def failed(cause: Cause, error: str, exit_code: int | None = None) -> Outcome:
    """A failure with the hint that belongs to its cause."""
    return Outcome(
        installed=False, exit_code=exit_code, cause=cause, error=error[:ERROR_CHARACTERS_MAX], hint=HINTS[cause]
    )


def cause_in(text: str) -> Cause | None:
    """The cause that these words name."""
    for cause, words in _WORDS[:WORDS_BEFORE_STATUS]:
        if words.search(text):
            return cause
    status = _STATUS.search(text)
    if status is not None and (cause_ := _of_status(int(status[1]))) is not None:
        return cause_
    return next((cause for cause, words in _WORDS[WORDS_BEFORE_STATUS:] if words.search(text)), None)


def _of_status(status: int) -> Cause | None:
    known = {
        401: Cause.AUTH_REQUIRED,
        403: Cause.FORBIDDEN,
        404: Cause.NOT_FOUND,
        410: Cause.NOT_FOUND,
        429: Cause.RATE_LIMITED,
        407: Cause.NETWORK,
        408: Cause.NETWORK,
        416: Cause.SERVER_ERROR,
    }
    return Cause.SERVER_ERROR if status >= 500 else known.get(status)


def _without_status(evidence: Evidence, ended: Ended) -> Outcome:
    if ended.disk_full:
        return failed(Cause.DISK_FULL, "the instance's disk is full: not even the exit status could be written")
    said = _last_error(evidence)
    if said is not None and cause_in(said) is Cause.DISK_FULL:
        return failed(Cause.DISK_FULL, said)
    return failed(Cause.KILLED, "the install was killed on the instance, its exit status is unknown")


def _civitdl_failed(evidence: Evidence, ended: Ended) -> Outcome:
    first = evidence.failures[0]
    if first.error is None:
        if ended.exit_code:
            return _exit_failed(evidence, ended)
        if ended.disk_full:
            return failed(Cause.DISK_FULL, "the instance's disk is full", ended.exit_code)
        name = f' of "{first.name}"' if first.name else ""
        return failed(Cause.NO_SUCCESS_MARK, f"civitdl never said that the download{name} is complete", ended.exit_code)
    cause = cause_in(first.error)
    if cause is None and ended.disk_full:
        cause = Cause.DISK_FULL
    name = f'"{first.name}": ' if first.name else ""
    tool = "civitdl: " if evidence.is_civitdl else ""
    return failed(cause or Cause.UNKNOWN, f"{tool}{name}{first.error}", ended.exit_code)


def _exit_failed(evidence: Evidence, ended: Ended) -> Outcome:
    code = ended.exit_code or 0
    said = _last_error(evidence)
    cause = cause_in(said) if said is not None else None
    if ended.disk_full and cause in (None, Cause.PERMISSION):
        cause = Cause.DISK_FULL
    if cause in (None, Cause.PERMISSION) and code == 127:
        cause = Cause.TOOL_MISSING
    if cause is None or cause is Cause.KILLED:
        if code in _SIGNALS:
            return failed(Cause.KILLED, f"the command was ended by {_SIGNALS[code]}", code)
        cause = cause or _EXIT_CODES.get(evidence.tool or "", {}).get(code)
    words = said if said is not None else next(reversed(evidence.tail), None)
    error = f"exit status {code}" + (f": {words}" if words else "")
    return failed(cause or Cause.UNKNOWN, error, code)


def _last_error(evidence: Evidence) -> str | None:
    """The last line that names a cause, else the last that reads like an error at all."""
    lines = (*reversed(evidence.error_lines), *reversed(evidence.tail))
    named = (line for line in lines if cause_in(line) is not None)
    return next(named, next(reversed(evidence.error_lines), None))
