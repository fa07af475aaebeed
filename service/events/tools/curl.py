"""curl's meters: a header, then columns that are redrawn; hashes; and the columns of parallel transfers.

curl counts in 1024. The widths of its columns change with its version. Its messages follow on the meter's own line.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import ClassVar

from service.events.bounds import STAGE_EVENTS_MAX
from service.events.causes import Cause
from service.events.event_types import Event, Output, Progress, StageComplete, StageStart
from service.events.tools.protocol import MORE, NOT_MINE, Answer, Context, ExitStatus, Tool
from service.events.tools.quantities import amount, byte_count, percent, seconds

BASE = 1024

_HEADER = re.compile(r"^(?:% +Total +% +Received +% +Xferd|DL% +UL% +Dled +Uled +Xfers)\b")
_SECOND_HEADER = re.compile(r"^Dload +Upload\b")
_SPEAKS = re.compile(r"^curl: \(\d{1,3}\) ")
_TIME = r"(?:\d{1,6}:\d\d:\d\d|--:--:--|\d{1,4}d \d\dh|\d{1,3}:\d\d|--:--|\d{1,5}d)"
_SIZE = r"[\d.]{1,12}[kKMGTP]?"
_COLUMNS = (
    rf"(?P<percent>\d{{1,3}}) +(?P<total>{_SIZE}) +(?P<received>\d{{1,3}}) +(?P<done>{_SIZE}) +\d{{1,3}} +{_SIZE}"
    rf" +{_SIZE} +{_SIZE} +{_TIME} +(?P<elapsed>{_TIME}) +(?P<left>{_TIME}) +(?P<speed>{_SIZE})"
)
_ROW = re.compile(rf"^{_COLUMNS}(?P<rest>(?:curl: \(|Warning: |[*<>{{}}] ).*)?$")
_PARALLEL_ROW = re.compile(
    rf"^(?:(?P<percent>\d{{1,3}})|--) +(?:\d{{1,3}}|--) +(?P<done>{_SIZE}) +{_SIZE} +(?:\d{{1,6}} +){{1,4}}"
    rf"{_TIME} +(?P<elapsed>{_TIME}) +(?P<left>{_TIME}) +(?P<speed>{_SIZE})$"
)
# After the hashes; before the first hash there is the percentage alone.
_PERCENT = re.compile(r"(\d{1,3})\.\d%")
_HASHES_CHARACTERS_MAX = 401
# A row, and a bar of hashes, that the next one is drawn over.
_ROW_AGAIN = re.compile(" {0,9}+" + _COLUMNS.replace(" +", " {1,99}+") + " {0,99}+\r", re.ASCII)
_HASHES_AGAIN = re.compile(r" {0,99}+(?:#[# ]{0,399}+)?+(?P<percent>\d{1,3})\.\d% {0,9}+\r", re.ASCII)
# Where the size is not known, a small ship travels among the hashes.
_SHIP = re.compile(r"[#O=\- ]{0,400}(?:=[#O]=|=O#|#O=|#O#)[#O=\- ]{0,400}")
_SHIP_CHARACTERS_MAX = 400
_NO_SHIP = ("==", "--")


class Curl(Tool):
    """curl says neither a name nor that a file is complete, except by its exit status. Its columns are numbers only,
    so they count after its header alone."""

    name = "curl"
    commands = ("curl",)
    bar_begins = "#O=-0123456789"
    line_begins = "%Dc"
    again_ends = "\r"
    exit_statuses: ClassVar[Mapping[int, ExitStatus]] = {
        1: ExitStatus("curl does not know the protocol of the address"),
        2: ExitStatus("curl could not begin: its options do not fit"),
        3: ExitStatus("the address is malformed"),
        4: ExitStatus("this curl was built without what the command needs"),
        5: ExitStatus("the proxy's name could not be resolved", Cause.DNS),
        6: ExitStatus("the site's name could not be resolved", Cause.DNS),
        7: ExitStatus("no connection to the site", Cause.NETWORK),
        8: ExitStatus("the site's answer makes no sense", Cause.NETWORK),
        9: ExitStatus("the site denies access to the file", Cause.FORBIDDEN),
        16: ExitStatus("the HTTP/2 connection broke", Cause.NETWORK),
        18: ExitStatus("the file ended too early", Cause.NETWORK),
        19: ExitStatus("the site does not have the file", Cause.NOT_FOUND),
        22: ExitStatus("the site answered with an error", Cause.NOT_FOUND),
        23: ExitStatus("the file could not be written", Cause.PERMISSION),
        26: ExitStatus("a local file could not be read", Cause.PERMISSION),
        27: ExitStatus("curl ran out of memory", Cause.KILLED),
        28: ExitStatus("the time limit of the command has passed", Cause.NETWORK),
        33: ExitStatus("the site cannot continue a half file", Cause.VERIFICATION_FAILED),
        35: ExitStatus("the secure connection could not be made", Cause.TLS),
        36: ExitStatus("the half file cannot be continued", Cause.VERIFICATION_FAILED),
        37: ExitStatus("a local file could not be read", Cause.PERMISSION),
        43: ExitStatus("curl was used in a wrong way"),
        45: ExitStatus("the network interface could not be used", Cause.NETWORK),
        47: ExitStatus("the address leads round in a circle"),
        48: ExitStatus("curl does not know an option"),
        51: ExitStatus("the site's certificate does not fit its name", Cause.TLS),
        52: ExitStatus("the site answered nothing", Cause.NETWORK),
        53: ExitStatus("the TLS engine is missing", Cause.TLS),
        54: ExitStatus("the TLS engine cannot be used", Cause.TLS),
        55: ExitStatus("sending failed", Cause.NETWORK),
        56: ExitStatus("receiving failed", Cause.NETWORK),
        58: ExitStatus("the client's certificate cannot be used", Cause.TLS),
        59: ExitStatus("no TLS cipher fits", Cause.TLS),
        60: ExitStatus("the site's certificate could not be verified", Cause.TLS),
        61: ExitStatus("the answer's encoding is not known"),
        63: ExitStatus("the file is larger than the command allows"),
        64: ExitStatus("the secure connection could not be made", Cause.TLS),
        65: ExitStatus("sending could not begin again", Cause.NETWORK),
        66: ExitStatus("TLS could not begin", Cause.TLS),
        67: ExitStatus("the site refuses the login", Cause.AUTH_REQUIRED),
        77: ExitStatus("the file of trusted certificates cannot be read", Cause.TLS),
        78: ExitStatus("the site does not have the file", Cause.NOT_FOUND),
        79: ExitStatus("the SSH connection failed", Cause.NETWORK),
        80: ExitStatus("the secure connection did not end properly", Cause.NETWORK),
        82: ExitStatus("the list of revoked certificates cannot be read", Cause.TLS),
        83: ExitStatus("the certificate's issuer is not the expected one", Cause.TLS),
        89: ExitStatus("no connection was free", Cause.NETWORK),
        90: ExitStatus("the site's key is not the expected one", Cause.TLS),
        91: ExitStatus("the certificate's state is not valid", Cause.TLS),
        92: ExitStatus("the HTTP/2 stream broke", Cause.NETWORK),
        94: ExitStatus("the login failed", Cause.AUTH_REQUIRED),
        95: ExitStatus("the HTTP/3 connection broke", Cause.NETWORK),
        96: ExitStatus("the QUIC connection could not be made", Cause.NETWORK),
        97: ExitStatus("the proxy refused the connection", Cause.NETWORK),
        98: ExitStatus("the site asks for a certificate of the client", Cause.TLS),
        99: ExitStatus("waiting for the network failed", Cause.NETWORK),
    }

    def __init__(self, context: Context) -> None:
        self._context = context
        self._names: dict[str, None] = {}
        self._has_begun = False

    def bar(self, text: str) -> Answer:
        row = _row(text) if self._has_begun else None
        again = _ROW_AGAIN
        if row is None:
            hashes = _hash_bar(text)
            if hashes is None:
                return NOT_MINE
            row, again = (hashes, ""), _HASHES_AGAIN
        self.again = again
        begins = [] if self._has_begun else self._begin()
        shown, after = row
        rest = [Output(line=self._context.redact(after))] if after else []
        if self._context.runs.awaits_name(self.name):
            return rest
        return [*begins, shown, *rest] if begins or rest else (shown,)

    def redrawn(self, found: re.Match[str]) -> Progress | None:
        if self._context.runs.awaits_name(self.name):
            return None
        if found.re is _HASHES_AGAIN:
            return Progress("download", percent(found[1]))
        return _progress_of_row(found)

    def line(self, text: str, output: Output) -> Answer:
        if _HEADER.match(text):
            return self._begin()
        if self._has_begun and _SECOND_HEADER.match(text):
            return MORE
        return [output] if _SPEAKS.match(text) else NOT_MINE

    def completed(self) -> Sequence[Event]:
        return [StageComplete(name=name) for name in self._names]

    def _begin(self) -> list[Event]:
        self._has_begun = True
        if self._context.runs.awaits_name(self.name):
            return []
        name = self._context.name_for(self.name)
        if len(self._names) < STAGE_EVENTS_MAX:
            self._names[name] = None
        return [StageStart(name=name)]


def _row(text: str) -> tuple[Progress, str] | None:
    """The progress that a row shows and what follows on its line; None for any other line."""
    found = _ROW.match(text)
    if found is None:
        found = _PARALLEL_ROW.match(text)
        return (_progress(*found.groups()), "") if found is not None else None
    return _progress_of_row(found), found["rest"] or ""


def _progress_of_row(row: re.Match[str]) -> Progress:
    """Where curl does not know the total it prints 0, or what it has so far, of which it then received 0 %."""
    of_100, total, received, done, elapsed, left, speed = row.groups()[:7]
    if total == "0" or (total == done and int(received) == 0):
        of_100 = total = None
    return _progress(of_100, done, elapsed, left, speed, total)


def _hash_bar(text: str) -> Progress | None:
    """``curl --progress-bar``: hashes and a percentage with one decimal."""
    begin = max(text.rfind("#"), text.rfind(" ")) + 1
    found = _PERCENT.fullmatch(text, begin)
    if found is not None and (not begin or (text[0] == "#" and _are_hashes(text[:begin]))):
        return Progress("download", percent(found[1]))
    if len(text) > _SHIP_CHARACTERS_MAX or _SHIP.fullmatch(text) is None:
        return None
    return None if any(rule in text for rule in _NO_SHIP) else Progress(stage="download")


def _are_hashes(text: str) -> bool:
    return len(text) <= _HASHES_CHARACTERS_MAX and not text.strip("# ")


def _progress(of_100: str | None, done: str, elapsed: str, left: str, speed: str, total: str | None = None) -> Progress:
    remaining = left if not left.startswith("--") else None
    return Progress(
        "download",
        percent(of_100) if of_100 else None,
        done,
        total,
        elapsed if not elapsed.startswith("--") else None,
        remaining,
        speed,
        byte_count(done, BASE),
        byte_count(total, BASE) if total is not None else None,
        amount(speed, BASE),
        seconds(remaining),
    )
