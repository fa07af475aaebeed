"""aria2c's readout, complete at its closing bracket, and its notices. aria2c counts in 1024."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import ClassVar

from service.events.bounds import STAGE_EVENTS_MAX
from service.events.causes import Cause
from service.events.event_types import Output, Progress, StageComplete, StageStart
from service.events.lines import plain
from service.events.runs import base_name
from service.events.tools.protocol import (
    AFTER_A_BAR,
    BRACKET_BYTES_MAX,
    MORE,
    NOT_MINE,
    Answer,
    Context,
    ExitStatus,
    Tool,
)
from service.events.tools.quantities import amount, byte_count, percent, seconds

BASE = 1024

_SPEAKS = re.compile(r"^\d\d/\d\d \d\d:\d\d:\d\d \[(?:NOTICE|ERROR)\] ")
_COMPLETE = re.compile(r"\[NOTICE\] Download complete: (.+)$")
# What frames a readout in the summary that aria2c prints where there is no terminal.
_SUMMARY = re.compile(r"^\*\*\* Download Progress Summary as of .{1,60} \*\*\*$")
_IN_SUMMARY = re.compile(r"^(?:=+|FILE: .*|-+)$")
_SIZE = r"[\d.]{1,20}(?:[KMGT]i)?B"
_READOUT = re.compile(
    rf"\[#(?P<gid>[0-9a-f]{{6,16}}) (?P<done>{_SIZE})/(?P<total>{_SIZE})(?:\((?P<percent>\d{{1,3}})%\))?"
    r"(?: CN:\d{1,5})?(?: SD:\d{1,5})?"
    rf"(?: DL:(?P<speed>{_SIZE}))?(?: UL:\S{{1,20}})?(?: ETA:(?P<eta>\w{{1,20}}))?\]"
)
_AGAIN = re.compile(AFTER_A_BAR + _READOUT.pattern.replace(r"\S", r"[\w.]"), re.ASCII)


class Aria2c(Tool):
    """Each download that it numbers (``gid``) begins with its first readout; its name comes only at its end."""

    name = "aria2c"
    commands = ("aria2c",)
    bracket_begins = b"#"
    again = _AGAIN
    exit_statuses: ClassVar[Mapping[int, ExitStatus]] = {
        1: ExitStatus("the download failed, most often to connect", Cause.NETWORK),
        2: ExitStatus("the site did not answer in time", Cause.NETWORK),
        3: ExitStatus("the site does not have the file", Cause.NOT_FOUND),
        4: ExitStatus("the site said too often that it does not have the file", Cause.NOT_FOUND),
        5: ExitStatus("the download was slower than the command allows", Cause.NETWORK),
        6: ExitStatus("the network failed", Cause.NETWORK),
        7: ExitStatus("aria2c was told to stop before the download was complete", Cause.KILLED),
        8: ExitStatus("the site cannot continue a half file", Cause.VERIFICATION_FAILED),
        9: ExitStatus("the disk is full", Cause.DISK_FULL),
        10: ExitStatus("the half file was begun with other settings", Cause.VERIFICATION_FAILED),
        11: ExitStatus("another download writes this file", Cause.BUSY),
        12: ExitStatus("another download loads this torrent", Cause.BUSY),
        13: ExitStatus("the file exists already", Cause.VERIFICATION_FAILED),
        14: ExitStatus("the file could not be renamed", Cause.PERMISSION),
        15: ExitStatus("the file could not be opened", Cause.PERMISSION),
        16: ExitStatus("the file could not be made", Cause.PERMISSION),
        17: ExitStatus("reading or writing the file failed", Cause.PERMISSION),
        18: ExitStatus("the folder could not be made", Cause.PERMISSION),
        19: ExitStatus("the site's name could not be resolved", Cause.DNS),
        20: ExitStatus("the Metalink document cannot be read"),
        21: ExitStatus("an FTP command failed", Cause.NETWORK),
        22: ExitStatus("the site answered with an error", Cause.FORBIDDEN),
        23: ExitStatus("the address leads round in a circle"),
        24: ExitStatus("the site refuses the login", Cause.AUTH_REQUIRED),
        25: ExitStatus("the torrent cannot be read"),
        26: ExitStatus("the torrent file is broken"),
        27: ExitStatus("the magnet link is broken"),
        28: ExitStatus("aria2c does not know an option"),
        29: ExitStatus("the site is overloaded or in maintenance", Cause.SERVER_ERROR),
        30: ExitStatus("the remote call cannot be read"),
        32: ExitStatus("the file's checksum is wrong", Cause.VERIFICATION_FAILED),
    }

    def __init__(self, context: Context) -> None:
        self._context = context
        self._gids: set[str] = set()
        self._in_summary = False

    def at_bracket(self, line: bytes | bytearray) -> Answer:
        found = _readout_in(line)
        if found is None:
            return NOT_MINE
        shown = _progress(found)
        gid = found[1]
        if gid in self._gids or len(self._gids) >= STAGE_EVENTS_MAX:
            return (shown,)
        self._gids.add(gid)
        return [StageStart(name=self._context.name_for(self.name)), shown]

    def redrawn(self, found: re.Match[str]) -> Progress | None:
        return _progress(found) if found[1] in self._gids else None

    def line(self, text: str, output: Output) -> Answer:
        if not self._in_summary and text[:1] != "*" and not text[:1].isdecimal():
            return NOT_MINE
        if _SUMMARY.match(text):
            self._in_summary = True
            return MORE
        if self._in_summary:
            # Each download has a frame of its own; the first line that is not part of one ends the summary.
            self._in_summary = _IN_SUMMARY.match(text) is not None
            if self._in_summary:
                return MORE
        if not _SPEAKS.match(text):
            return NOT_MINE
        found = _COMPLETE.search(text)
        return [StageComplete(name=self._context.name(base_name(found[1])))] if found is not None else [output]


def _readout_in(line: bytes | bytearray) -> re.Match[str] | None:
    """The readout that ends with this line's last byte, which is a ``]``."""
    near = max(0, len(line) - BRACKET_BYTES_MAX)
    if line.rfind(b"#", near) < 0:
        return None
    # On a terminal there are colours between the bracket and what follows it.
    text = plain(bytes(line[near:]))
    begin = text.rfind("[#")
    return _READOUT.fullmatch(text, begin) if begin >= 0 else None


def _progress(found: re.Match[str]) -> Progress:
    _, done, total, of_100, speed, eta = found.groups()
    total_bytes = byte_count(total, BASE)
    return Progress(
        "download",
        percent(of_100) if of_100 else None,
        done,
        total if total_bytes else None,
        None,
        eta,
        f"{speed}/s" if speed else None,
        byte_count(done, BASE),
        total_bytes or None,
        amount(speed, BASE) if speed else None,
        seconds(eta),
    )
