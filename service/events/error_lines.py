"""What kind of line this is: an error, a warning that explains one, something harmless, or a plain sentence. Pure.

The verdict looks for a cause in errors first. Names, titles, certificates that were only warned about, help texts and
banners may hold any word, so the form of a line decides and not the words in it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from enum import Enum, auto
from functools import lru_cache


class Kind(Enum):
    """ERROR: it says that something went wrong. EXPLAINS: a warning that says why, as tools print before they try
    again. PLAIN: any other sentence; the last one is quoted where nothing looks like an error. HARMLESS: progress,
    decoration, advice, warnings, help."""

    ERROR = auto()
    EXPLAINS = auto()
    PLAIN = auto()
    HARMLESS = auto()


# How a line is told. Programs mark an error in one of four ways, and the first that fits decides:
#   1. by a word at its beginning, alone or after a time: "ERROR:", "fatal:", "E:", "[ERROR]", "Err:1";
#   2. by their own name at its beginning and a reason after it: "mkdir: cannot create …", "curl: (6) …";
#   3. by the name of an exception, which Python prints last: "requests.exceptions.ReadTimeout: …";
#   4. by a sentence of their own, which begins with what could not be done, or ends with the system's own words.
# A reason that the system gives counts at the end of a line or in brackets only, a phrase of HTTP only after its
# number or alone: "Downloading Forbidden Forest LoRA" is not an error. What begins like progress is harmless unless it
# ends in such a reason ("Connecting to x... failed: Connection refused.").

_SYSTEM = (
    "no space left on device|disk quota exceeded|permission denied|read-only file system|no such file or directory|"
    "not a directory|is a directory|file exists|file too large|input/output error|operation not permitted|"
    "text file busy|resource temporarily unavailable|cannot allocate memory|stale file handle|"
    "connection refused|connection reset by peer|connection timed out|network is unreachable|no route to host|"
    "broken pipe|name or service not known|temporary failure in name resolution|command not found|not found|"
    "exec format error"
)
_PHRASES = (
    "bad request|unauthorized|payment required|forbidden|not found|gone|too many requests|access denied|"
    "unavailable for legal reasons|requested range not satisfiable|range not satisfiable|internal server error|"
    "bad gateway|service unavailable|service temporarily unavailable|gateway timeout|gateway time-out"
)
_TIME = r"(?:\[?(?:\d{4}[-/])?\d\d[-/]\d\d[ t]\d\d:\d\d(?::\d\d)?[\d.,z+:]{0,14}\]? *(?:- +)?)?"
_REASON = (
    r"can(?:no|')t\b|can not|could not|couldn't|unable|fail|invalid|unrecognized|unknown|missing|error|refused|bad "
)
_PROGRAMS = (
    r"wget2?|curl|aria2c|git|hf|huggingface-cli|civitdl|gdown|pip3?|python[\d.]*|unzip|7z|tar|gzip|xz|bash|sh|dash|sudo|"
    r"env|ssh|scp|rsync|sha256sum|md5sum"
)
_LOUD = re.compile(
    rf"^{_TIME}(?:\[?(?:error|fatal|critical|panic)\]?(?: \d{{3}})?(?::| -|\]| [a-z]|$)|e: |err:\d|err(?:or)?: |"
    r"✗ |❌ ?|\*\*\* error)"
)
# "Name: Unknown Forbidden Style" is not a program that speaks.
_OF_ANY_PROGRAM = re.compile(
    rf"^(?!(?:name|title|model|file|by|description|tags?): )[a-z_./][\w./+-]{{0,79}}: .*(?i:{_REASON}|(?:{_SYSTEM})$)"
)
_EXCEPTION = re.compile(
    r"^(?:uncaught )?(?:[A-Za-z_]\w*\.)*(?:[A-Z]\w*)?(?:Error|Exception|Timeout|Interrupt|IncompleteRead|"
    r"Disconnected)\w*(?::| \(|\(|$)|^(?:[a-z_]\w*\.)+[A-Z]\w+: |^Exception: "
)
_OF_A_PROGRAM = re.compile(
    rf"^(?:(?:/[\w.-]+)*/?(?:{_PROGRAMS}): |[\w./-]+: line \d+: |[\w./+-]{{1,80}}: (?:error|fatal)\b)",
)
_BY_THE_SYSTEM = re.compile(rf"(?:[:)\]] ?|\()(?:\[errno -?\d+\] )?(?:{_SYSTEM})[.)]*(?:giving up\.)?$|\[errno -?\d+\]")
_BY_HTTP = re.compile(
    rf"\b[45]\d\d:? +(?:{_PHRASES}|(?:client|server) error)\b|^(?:{_PHRASES})[.!]?$|"
    r"\bresponse\.\.\. [45]\d\d\b|http error|returned error:|^http/[\d.]+ [45]\d\d|errorcode=\d|"
    r"^\W*\"?(?:error|errors|message|error_description)\"?\s*:|^\{.{0,200}\"(?:error|message|detail)\"\s*:|"
    r"<(?:code|title)>[^<]*(?:error|denied|invalid|no ?such|\d{3})"
)
_SENTENCE = re.compile(
    r"^(?:(?:can(?:no|')t|can not|could not|couldn't|unable to|failed|failure|invalid|no such|not enough|too many|"
    r"access to|username/password authentication failed|authorization failed|connection (?:closed|reset|refused|timed|"
    r"broken|aborted)|read (?:error|timed out)|operation timed out|timed? ?out|network is|temporary failure|"
    r"no data received|giving up|request failed|batch response: |remote file does not|"
    r"remote: (?:error|fatal|repository|invalid|permission|support|http)|server returned|"
    r"this repository (?:is over|exceeded)|"
    r"segmentation fault|bus error|aborted|killed|terminated|out of memory)\b)"
)
_INSIDE = re.compile(
    r"\.\.\. ?failed: |response\.\.\. [45]\d\d|[:-] read error at byte |- connection closed at byte |"
    r"ssl routines:|"
    r"request failed after \d+ retries|too many users have viewed|end-of-central-directory|: failed(?: open or read)?$|"
    r"\bline \d+: +\d+ (?:killed|segmentation fault|bus error|aborted|terminated)|computed checksum|"
    r"permission denied \(publickey|is not installed|\berror \d{3}\b|gnutls: |temporary failure resolving",
)


def _words(joined: str) -> tuple[str, ...]:
    return tuple(joined.split("|"))


# What a pattern finds counts only in a line that has one of these words.
_OF_ERRORS = _words(
    "error|fatal|critical|panic|fail|exception|timeout|timed|interrupt|incomplete|errno|can't|cannot|can not|"
    "could|unable|invalid|unrecogni|unknown|missing|refused|denied|not |no |exceeded|read-only|reset|"
    "unreachable|broken|busy|unavailable|allocate|disconnect|killed|fault|aborted|terminated|closed|giving|"
    "too |bad |gone|forbidden|unauthorized|http|directory|exists|ssl|tls|checksum|central-dir|access|<code>|"
    ": line |message|err:|e: |✗|❌|response... |payment|gateway|stale|pipe|memory|temporary|wget|curl: |"
    "aria2c: |unzip: |tar: |git: |[err|remote: |batch|: hf"
)
_OF_INSIDE = _words(
    "failed|response... |at byte|ssl |error|retries|viewed|end-of-central|: line |checksum|publickey|installed|"
    "gnutls: |resolving| line "
)

# Most lines are not errors, and each line is read, so what they cost is the look that finds nothing. A pattern that is
# anchored fails at once. One that is not is tried at every character: it is asked only after a look for text without
# which it cannot match, which is much cheaper. For all patterns together `may_be_more` is that look: how every line
# begins and ends that is an error or a warning, or what is in it.
_SYSTEM_ENDS = _words(_SYSTEM)
_REASONS = _words("can|could|unable|fail|invalid|unrecognized|unknown|missing|error|refused|bad ")
PHRASE_CHARACTERS_MAX = 60
_PHRASES_ALONE = frozenset(_words(_PHRASES))
_OF_HTTP = _words("error|message|response...|<")
_STATUS = re.compile(r"[45]\d\d:? ")

_WARNING = re.compile(rf"^{_TIME}\W{{0,3}}(?:warn(?:ing)?\b|w: |npm warn)|\b\w*warning: |\[warn(?:ing)?\]")
_WARNING_EXPLAINS = re.compile(
    r"retrying|will retry|broken by|computed checksum|warning: problem|failed to (?:open|fetch|create|write|connect)|"
    r"w: .*temporary failure",
)
_DECORATION = re.compile(r"[\W\d_]*$|([#=*~_+-])\1{2,}|\W*(?:#{3,}|={3,})")
_BAR = re.compile(r"\d{1,3}%.{0,4}(?:\||\[|#{2,})")
_ADVICE = re.compile(
    rf"^{_TIME}(?:\[?(?:hint|note|notice|info|debug|tip)\]?\b ?[:\]]|\[(?:notice|info|debug)\]|usage: |"
    r"-{1,2}[a-z][\w-]*\b|\[-|to connect to .* insecurely|more details here|if there are any errors|aria2 will resume|"
    r"status legend|"
    r"\(\w+\):error occurred|download results|gid +\|stat|see .*for (?:more|details)|try '.*--help|for more details|"
    r"please (?:see|report|make sure)|file \"|traceback \(most)"
)
_PROGRESS = re.compile(
    r"^(?:now |\[\d+/\d+\] ?|→ ?|- ?)?(?:downloading|fetching|installing|collecting|cloning|saving|using cached|"
    r"resuming|connecting|resolving|checking|verifying|extracting|unpacking|processing|loading|starting|getting|copying|moving|"
    r"creating|building|updating|retrying|inflating|receiving|reading|get:\d|hit:\d|ign:\d|download completed|"
    r"archive: |length: |location: |--\d{4}-)"
)


_OF_MORE = _words(
    "err|warn|failed|response...|at byte|routines:|viewed|central-dir|line |checksum|publickey|installed|gnutls|"
    "e resolving|message|<|exception|timeout|incompleteread|disconnected"
)
_MORE_BEGINS = re.compile(
    rf"{_LOUD.pattern}|{_SENTENCE.pattern}|{_OF_A_PROGRAM.pattern}|{_TIME}\W{{0,3}}w: |"
    r"[^\s:.]++\.[^\s:]*+: |uncaught |u.age|traceback|\{|http/"
)
_MORE_ENDS = (*_SYSTEM_ENDS, "giving up", *_PHRASES_ALONE)


def may_be_more(text: str) -> bool:
    """Whether this line may be an error or a warning, or begin a help text or a traceback; False: it is plain or
    harmless, and nothing but that."""
    small = text.lower()
    return (
        _MORE_BEGINS.match(small) is not None
        or _has_any(small, _OF_MORE)
        or (": " in small and _may_give_a_reason(small))
        or small.rstrip(".)!").endswith(_MORE_ENDS)
        or _STATUS.search(small) is not None
    )


@lru_cache(maxsize=512)
def kind_of(text: str) -> Kind:
    """The kind of this line, as far as it says so itself."""
    small = text.lower()
    if _DECORATION.match(small) or ("%" in small and _BAR.search(small)):
        return Kind.HARMLESS
    if ("warn" in small or small.startswith("w: ")) and _WARNING.search(small):
        return Kind.EXPLAINS if _WARNING_EXPLAINS.search(small) else Kind.HARMLESS
    if _ADVICE.match(small):
        return Kind.HARMLESS
    is_progress = _PROGRESS.match(small) is not None
    if (_is_error_anywhere(small) or (not is_progress and _is_error(text, small))) and _has_any(small, _OF_ERRORS):
        return Kind.ERROR
    return Kind.HARMLESS if is_progress else Kind.PLAIN


def is_warning(text: str) -> bool:
    """Whether this line calls itself a warning, harmless or not."""
    return _WARNING.search(text.lower()) is not None


def _is_error_anywhere(small: str) -> bool:
    """``small``: the text in small letters, by which most are told."""
    if _may_be_by_the_system(small) and _BY_THE_SYSTEM.search(small):
        return True
    return _has_any(small, _OF_INSIDE) and _INSIDE.search(small) is not None


def _is_error(text: str, small: str) -> bool:
    if _EXCEPTION.match(text) or _LOUD.match(small) or _SENTENCE.match(small):
        return True
    # A program that speaks ends its name so.
    if ": " in text and (_OF_A_PROGRAM.match(small) or (_may_give_a_reason(small) and _OF_ANY_PROGRAM.match(text))):
        return True
    return _may_be_by_http(small) and _BY_HTTP.search(small) is not None


def _may_give_a_reason(small: str) -> bool:
    """Small letters beyond ASCII may be other ones to a pattern that ignores case."""
    return not small.isascii() or _has_any(small, _REASONS) or small.endswith(_SYSTEM_ENDS)


def _may_be_by_the_system(small: str) -> bool:
    """Whether the system's own words end the line, or its number is in it."""
    end = small.rstrip(".)")
    if end.endswith("giving up"):
        end = end.removesuffix("giving up").rstrip(".)")
    return end.endswith(_SYSTEM_ENDS) or "[errno" in small


def _may_be_by_http(small: str) -> bool:
    """Whether there is a status, a phrase alone, or an object with a detail."""
    return (
        _has_any(small, _OF_HTTP)
        or _STATUS.search(small) is not None
        or small[:1] in ("{", "h", "")
        or (len(small) < PHRASE_CHARACTERS_MAX and small.rstrip(".!") in _PHRASES_ALONE)
    )


def _has_any(text: str, words: Sequence[str]) -> bool:
    # A generator in any() would cost three times as much.
    for word in words:  # noqa: SIM110
        if word in text:
            return True
    return False
