"""Why a resource or a job fails: one row a cause, and how to find the cause in what a tool printed. Pure.

A row holds what a person can do (the hint), the words and HTTP statuses by which tools name the cause, and whether
another attempt can succeed although nobody changes anything. The verdict, the retry policy, the report and the
documentation all read this one table.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum, auto


class Cause(StrEnum):
    """Why a resource or a job failed. The values are part of the API, in the order in which it lists them."""

    AUTH_REQUIRED = "auth_required"
    FORBIDDEN = "forbidden"
    NOT_FOUND = "not_found"
    RATE_LIMITED = "rate_limited"
    SERVER_ERROR = "server_error"
    NETWORK = "network"
    DNS = "dns"
    TLS = "tls"
    DISK_FULL = "disk_full"
    DISK_ERROR = "disk_error"
    PERMISSION = "permission"
    TOOL_MISSING = "tool_missing"
    BUSY = "busy"
    TIMEOUT = "timeout"
    KILLED = "killed"
    INSTANCE_LOST = "instance_lost"
    INSTANCE_SILENT = "instance_silent"
    SSH_AUTH = "ssh_auth"
    SSH_UNREACHABLE = "ssh_unreachable"
    NO_SHELL = "no_shell"
    HOST_KEY_CHANGED = "host_key_changed"
    DEPENDENCY_FAILED = "dependency_failed"
    NO_SUCCESS_MARK = "no_success_mark"
    NOTHING_INSTALLED = "nothing_installed"
    STALLED = "stalled"
    VERIFICATION_FAILED = "verification_failed"
    CANCELLED = "cancelled"
    UNKNOWN = "unknown"


# One line often shows several causes at once. requests reports a name that cannot be resolved as "Max retries exceeded
# … NewConnectionError … Name or service not known": that is a DNS failure, and also a connection that failed. A proxy
# answers "Tunnel connection failed: 403 Forbidden": that is the network, and no site refused anything. curl's "Failure
# writing output" accompanies a full disk. So the most specific sign decides, and `Specificity` is that order: first
# what only the machine or the shell says, then the HTTP status, then the words of a site, last what merely accompanies
# other failures. A status stands before a site's words because these are free text: an error 404 page may well say
# "forbidden". Two signs of the same specificity are tried in the order of the table below. A new pattern goes into the
# most specific place where it cannot be true by accident; `tests/runner/test_outcome.py` holds the real sentences.


class Specificity(IntEnum):
    """How much a sign proves about the cause; the smallest comes first."""

    COMMAND = auto()  # a shell quotes the command that it lost: the options in it say nothing about the cause
    MACHINE = auto()  # the instance's own disk, resolver, proxy, certificates or missing tools
    HTTP_STATUS = auto()  # the status of an answer, as the tools print it
    SITE = auto()  # what a site says in words
    SYMPTOM = auto()  # what accompanies other failures too
    CONCLUSION = auto()  # what a tool says last after any failure: it counts where no other line names a cause


@dataclass(frozen=True, slots=True, kw_only=True)
class CauseRow:
    """All that is known about one cause.

    ``hint``: what a person can do, one or two sentences. ``words``: patterns, by how specific they are.
    ``http_statuses``: the statuses that mean this cause. Exactly one of the last two is given: ``transient``, why
    another attempt can succeed although nobody changes anything, or ``by_hand``, what has to change first; it completes
    the sentence "A retry helps …".
    """

    cause: Cause
    hint: str
    words: Mapping[Specificity, str] = field(default_factory=dict)
    http_statuses: Iterable[int] = ()
    transient: str | None = None
    by_hand: str | None = None

    @property
    def is_transient(self) -> bool:
        return self.transient is not None


_ROWS = (
    CauseRow(
        cause=Cause.DISK_FULL,
        hint="The instance's disk is full: free some space or rent a larger disk, then install again.",
        words={
            Specificity.MACHINE: r"no space left|disk quota exceeded|\[errno (?:28|122)\]|not enough (?:disk )?space|"
            r"disk full|don't have enough free space",
            # curl says so in a line before if it could not open the file at all.
            Specificity.CONCLUSION: r"failure writing output|failed writing (?:body|received data)",
        },
        by_hand="only with more room on the instance",
    ),
    CauseRow(
        cause=Cause.DISK_ERROR,
        hint="The instance's disk cannot be read or written any more: rent another instance, and tell its host.",
        words={
            Specificity.MACHINE: r"input/output error|stale file handle|structure needs cleaning|"
            r"transport endpoint is not connected|\[errno (?:5|107|116|117)\]"
        },
        by_hand="only on an instance whose disk works",
    ),
    CauseRow(
        cause=Cause.BUSY,
        hint="Another program on the instance holds what this one needs, often its updates: install again in a minute.",
        words={
            Specificity.MACHINE: r"could not get lock|unable to (?:acquire the dpkg|lock (?:directory|the "
            r"administration))|dpkg frontend lock|is another process using it|text file busy|database is locked|"
            r"resource temporarily unavailable|\[errno (?:11|26)\]"
        },
        transient="the other program ends",
    ),
    CauseRow(
        cause=Cause.DNS,
        hint="The instance cannot resolve the site's name: check its network and DNS settings.",
        words={
            Specificity.MACHINE: r"name or service not known|name resolution|getaddrinfo|nameresolutionerror|"
            r"could not resolve|unable to resolve|nodename nor servname|no address associated|no such host\b|"
            r"temporary failure resolving|failed to resolve|resolving timed out|^wget: bad address|"
            r"failed to lookup address"
        },
        transient="resolvers time out under load",
    ),
    CauseRow(
        cause=Cause.NETWORK,
        hint="The connection between the instance and the site broke: install again.",
        words={
            # A cut connection is not a wrong certificate, and an address that expired is good again at its beginning.
            Specificity.MACHINE: r"proxy tunnell?ing failed|tunnel connection failed|http code \d+ from proxy|"
            r"unexpected[ _]eof|eof occurred in violation|non-properly terminated|error in the pull function|"
            r"ssl_error_syscall|ssl_read: (?:connection|syscall|i/o)|gnutls recv error \(-(?:54|110)\)|"
            r"presigned url expiration|(?:request|signature|token|url|link) (?:has |is )?expired|expired ?token|"
            r"request failed after \d+ retries",
            Specificity.SYMPTOM: r"connection (?:broken|aborted|reset|refused|closed|timed out|error)|incompleteread|"
            r"\btimed? ?out\b|timeouterror|(?:connect|read|write|pool)timeout\b|unreachable|connect(?:ion)?error|"
            r"max retries exceeded|remotedisconnected|proxyerror|read error|\.\.\. ?failed: |newconnectionerror|"
            r"broken pipe|remote end (?:closed|hung)|transfer closed|early eof|empty reply|no route to host|"
            r"failed to connect|couldn't connect|can't connect to|got eof|no data received|unexpected disconnect|"
            r"error sending request|protocolerror|contenttooshort|retrieval incomplete|ended prematurely|"
            r"not closed cleanly|timeout was reached|premature end",
            Specificity.CONCLUSION: r"giving up|cannot find the requested files in the local cache|^warning: problem|"
            r"download aborted",
        },
        http_statuses=(407, 408),
        transient="connections break and come back",
    ),
    CauseRow(
        cause=Cause.TLS,
        hint="The secure connection failed: check the instance's clock, certificates and proxy.",
        words={
            Specificity.MACHINE: r"\bcertificate(?:_verify_failed\b|\b(?![-.\w]))|sslerror|\bssl routines\b|"
            r"\bssl\b.{0,40}(?:error|fail|alert|connect|handshake)|\btls\b.{0,40}(?:error|fail|alert|handshake)|"
            r"handshake failure|is not valid yet",
            Specificity.CONCLUSION: r"unable to establish ssl",
        },
        by_hand="only when the instance's clock and certificates are right",
    ),
    CauseRow(
        cause=Cause.TOOL_MISSING,
        hint="Install the tool on the instance, or name its folder in INSTALLER_REMOTE_PATH.",
        words={
            Specificity.MACHINE: r"^resource-installer: [\w-]+ is not installed|command not found|no module named|"
            r"(?:\bsh|: \d{1,6}): [^\s:]{1,200}: not found$|\benv: .{1,80}: no such file|bad interpreter|"
            r"is not a git command|cannot execute: required file not found"
        },
        by_hand="only when the tool is there",
    ),
    CauseRow(
        cause=Cause.AUTH_REQUIRED,
        hint="This download needs an account: give its tool the key of an account that may download it.",
        words={
            # The answer of a gated repository is a 403, and a key is what it asks for.
            Specificity.MACHINE: r"\bgated ?repo|repository requires approval|not in the authorized list|"
            r"access to (?:model|dataset|space) .{1,200} is restricted",
            Specificity.SITE: r"valid api key|requires? (?:a )?login|authentication (?:is )?(?:required|failed)|"
            r"username/password authentication failed|authorization failed|unauthorized|could not read username|"
            r"could not read password|invalid (?:username or password|api key|token|credentials)|"
            r"(?:please|must|need to) (?:log ?in|authenticate|be authenticated)|permission denied \(publickey|"
            r"only one auth mechanism allowed",
        },
        http_statuses=(401,),
        by_hand="only with a key that may download it",
    ),
    CauseRow(
        cause=Cause.FORBIDDEN,
        hint="The site refuses this file: it may be in early access or need rights that the key does not have.",
        words={
            Specificity.SITE: r"early access|\bforbidden\b|access ?denied|exceeded its lfs budget|"
            r"over its data quota|unavailable for legal reasons|payment required|cannot retrieve the public link"
        },
        http_statuses=(400, 402, 403, 451),
        by_hand="only when the site lets this key have the file",
    ),
    CauseRow(
        cause=Cause.RATE_LIMITED,
        hint="The site asks for fewer requests: wait a few minutes and install again.",
        words={
            Specificity.SITE: r"too many (?:requests|users have viewed)|rate.?limit|\bslowdown\b|"
            r"download quota|request was throttled"
        },
        http_statuses=(429,),
        transient="the site itself asks to be tried later",
    ),
    CauseRow(
        cause=Cause.NOT_FOUND,
        hint="The file or the version is gone: check the address on the card.",
        words={
            Specificity.SITE: r"\b(?:404|410)\b.{0,20}(?:not found|gone)|not found\.?$|does not exist for model|"
            r"repository not found|resource not found|no version metadata|file not found in |"
            r"^error: .{0,200} not found\b(?! *\. *\[errno)|nosuch(?:key|bucket)|remote file does not exist|"
            r"couldn't find remote ref|does not appear to be a git repository|"
            r"(?<!local)(?:entry|revision|repository)notfound",
            Specificity.CONCLUSION: r"no matching distribution|could not find a version that satisfies|"
            r"unable to locate package|^fatal: could not read from remote",
        },
        http_statuses=(404, 410),
        by_hand="only with another address on the card",
    ),
    CauseRow(
        cause=Cause.SERVER_ERROR,
        hint="The site has a problem of its own: install again later.",
        words={
            Specificity.SITE: r"internal server error|bad gateway|service unavailable|gateway time-?out|server error|"
            r"under maint|unable to parse metadata"
        },
        http_statuses=range(500, 600),
        transient="sites recover",
    ),
    CauseRow(
        cause=Cause.PERMISSION,
        hint="The folder cannot be written: check ui_home and the rights of ssh_user on the instance.",
        words={
            Specificity.SYMPTOM: r"permission denied|read-only file system|operation not permitted|"
            r"\[errno (?:1|2|13|20|21|30)\]|cannot write to|not writable|no such file or directory|not a directory|"
            r"is a directory|checkdir error|cannot create",
            Specificity.CONCLUSION: r"failed (?:to write|writing header)",
        },
        by_hand="only when the folder can be written",
    ),
    CauseRow(
        cause=Cause.KILLED,
        hint="The download was killed on the instance, often for lack of memory: look at the instance's log.",
        words={
            Specificity.COMMAND: r"\bline \d+: +\d+ (?:Killed|Segmentation fault|Bus error|Aborted|Terminated)\b",
            Specificity.SYMPTOM: r"^(?:killed|segmentation fault|bus error|aborted|terminated)(?: \(core dumped\))?$|"
            r"out of memory|memoryerror|cannot allocate memory|std::bad_alloc",
        },
        transient="a process that ran out of memory may have enough the next time",
    ),
    CauseRow(
        cause=Cause.TIMEOUT,
        hint="The download took longer than INSTALLER_RESOURCE_TIMEOUT allows: raise it.",
        by_hand="only with a longer INSTALLER_RESOURCE_TIMEOUT, or a faster connection",
    ),
    CauseRow(
        cause=Cause.STALLED,
        hint="Nothing moved for INSTALLER_STALL_TIMEOUT: install again; a site that hangs may need another address on "
        "the card.",
        transient="a new connection replaces the one that hung",
    ),
    CauseRow(
        cause=Cause.NO_SUCCESS_MARK,
        hint="The tool ended without saying that the file is complete: install again, and look at the last lines of "
        "its output.",
        transient="the tool ended in the middle",
    ),
    CauseRow(
        cause=Cause.NOTHING_INSTALLED,
        hint="The commands ended well and left no file: name the card's `files`, or write `installs: nothing` on it if "
        "it needs none.",
        by_hand="only when the card's commands leave a file, or the card says `installs: nothing`",
    ),
    CauseRow(
        cause=Cause.VERIFICATION_FAILED,
        hint="The file on the instance is not what it should be: delete it there, check the address on the card, and "
        "install again.",
        words={
            Specificity.SITE: r"checksum (?:error|mismatch)|hash(?:es)? mismatch|computed checksum|match the hashes|"
            r"end-of-central-directory|cannot find zipfile directory|badzipfile|not a zip file|not in gzip format|"
            r"unexpected end of (?:archive|data)|file format not recognized|\bcrc (?:error|failed)|bad crc|"
            r"safetensorerror|pytorchstreamreader|: FAILED$|does not look like a tar archive",
        },
        http_statuses=(416,),
        by_hand="only when the file on the instance is removed, or the card is right",
    ),
    CauseRow(
        cause=Cause.INSTANCE_LOST,
        hint="The instance was restarted, replaced or is gone: start the install again on a running one.",
        transient="the instance was restarted during the download and answers again",
    ),
    CauseRow(
        cause=Cause.INSTANCE_SILENT,
        hint="The instance lets the service in and then does not answer: restart it, or rent another, and install "
        "again.",
        by_hand="only when the instance answers",
    ),
    CauseRow(
        cause=Cause.SSH_AUTH,
        hint="The instance does not accept the key: give it the public half of the service's key (page Keys, or "
        "`resource-installer keys ssh`), or check INSTALLER_SSH_KEY and ssh_user.",
        by_hand="only when the instance accepts the key",
    ),
    CauseRow(
        cause=Cause.SSH_UNREACHABLE,
        hint="No SSH server answers there: check that the instance runs, and its host and port.",
        by_hand="when the instance answers",
    ),
    CauseRow(
        cause=Cause.NO_SHELL,
        hint="The login on the instance must run the commands that it is given: look in .bashrc and .profile of "
        "ssh_user for an exit, tmux or a menu, and check the account's shell.",
        by_hand="only when a login on the instance runs commands",
    ),
    CauseRow(
        cause=Cause.HOST_KEY_CHANGED,
        hint="Another machine may answer at this address: if you trust it, start the install again with "
        "host_key_sha256 set to the fingerprint it shows.",
        by_hand="only with host_key_sha256 set to the key that you trust",
    ),
    CauseRow(
        cause=Cause.DEPENDENCY_FAILED,
        hint="Fix the resource that this one depends on, then install again.",
        by_hand="when what it depends on can be installed",
    ),
    CauseRow(
        cause=Cause.CANCELLED,
        hint="Somebody ended this job: retry it, or delete what it left on the instance.",
        by_hand="whenever you need this resource after all",
    ),
    CauseRow(
        cause=Cause.UNKNOWN,
        hint="Look at the last lines of the output.",
        by_hand="only after the problem that the last lines show is fixed",
    ),
)

CAUSES: Mapping[Cause, CauseRow] = {row.cause: row for row in _ROWS}

_CAUSE_OF_STATUS = {status: row.cause for row in _ROWS for status in row.http_statuses}
_STATUS = re.compile(
    r"(?:status code:?|\bhttp(?:/[\d.]+)?(?: (?:status|error))?:?|\berror:?|\bresponse(?: status)?(?:\.\.\.| code| )|"
    r"returned error:|\b(?:status|code|statuscode|status_code)\"?[:= ]|\bcode)\s*([45]\d\d)\b|"
    r"\b([45]\d\d):? +(?:client error|server error|bad request|unauthorized|payment required|forbidden|not found|gone|"
    r"too many requests|unavailable for legal|internal server error|bad gateway|service unavailable|gateway time)",
    re.IGNORECASE,
)
# What a file, a folder or an address is called says nothing about a cause.
_NAMES = re.compile(
    r"(['\"`‘“])[^'\"`’”]{1,300}\.(?:safetensors|ckpt|pth?|bin|gguf|onnx|zip|json|txt|md|yaml)['\"`’”]|"
    r"(['\"`‘“])(?!not found|access denied|too many|bad |service |internal |gateway )"
    r"(?-i:[A-Z])\w*(?: (?-i:[A-Z0-9])\w*)+['\"`’”]|"
    r"\bhttps?://[^\s'\"<>]+|(?<![\w/.])~?/[^\s'\":,)]+|\b[\w.-]{1,100}\.(?:safetensors|ckpt|pth?|bin|gguf|onnx|zip)\b",
    re.IGNORECASE,
)
_NAME = "~"
_TEXT_CHARACTERS_MAX = 600
# After a phrase that makes a sentence of its own there is no further word of a title.
_TITLE_GOES_ON = re.compile(r"[\w-]|\.\w| +[A-Z]")


def _patterns(*specificities: Specificity) -> tuple[tuple[Cause, re.Pattern[str]], ...]:
    return tuple(
        (row.cause, re.compile(row.words[specificity], re.IGNORECASE))
        for specificity in specificities
        for row in _ROWS
        if specificity in row.words
    )


_BEFORE_STATUS = _patterns(Specificity.COMMAND, Specificity.MACHINE)
_AFTER_STATUS = _patterns(Specificity.SITE, Specificity.SYMPTOM)
_CONCLUSIONS = _patterns(Specificity.CONCLUSION)


def cause_in(text: str) -> Cause | None:
    """The cause that this line names: its most specific sign decides. None if it names none."""
    text = _without_names(text)
    return _named_in(text, _BEFORE_STATUS) or _of_status_in(text) or _named_in(text, _AFTER_STATUS)


def concluded_in(text: str) -> Cause | None:
    """The cause of what a tool says last after any failure: it counts where no other line names a cause."""
    return _named_in(text, _CONCLUSIONS)


def sentence_cause(text: str) -> Cause | None:
    """The cause that a line names which does not look like an error: only if the line begins with the words, and they
    are not the beginning of a title."""
    text = _without_names(text)
    if _STATUS.match(text):
        return _of_status_in(text)
    for cause, words in (*_BEFORE_STATUS, *_AFTER_STATUS):
        found = words.match(text)
        if found is not None and not _TITLE_GOES_ON.match(text, found.end()):
            return cause
    return None


def status_in(text: str) -> int | None:
    """The HTTP status of an error answer, 400 to 599, that this line reports."""
    found = _STATUS.search(_without_names(text))
    return int(found[1] or found[2]) if found is not None else None


def _without_names(text: str) -> str:
    return _NAMES.sub(_NAME, text[:_TEXT_CHARACTERS_MAX])


def _named_in(text: str, patterns: Iterable[tuple[Cause, re.Pattern[str]]]) -> Cause | None:
    return next((cause for cause, words in patterns if words.search(text)), None)


def _of_status_in(text: str) -> Cause | None:
    """Any other status of 400 to 499 is a refusal that waiting does not change."""
    status = status_in(text)
    return None if status is None else _CAUSE_OF_STATUS.get(status, Cause.FORBIDDEN)
