"""How an attempt ended: the instance reports it in the last line on standard error, after the nonce."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from service.errors import LeaseLost, LinkDown, NoAnswer

FREE_KIB_MIN = 64
REASON_CHARACTERS_MAX = 300
STALE = "a later owner of the job was on the instance"

_EXIT = re.compile(r"exit (\d{1,3}) ([012]) (\d{1,15}|-)")
_VERIFIED = b"verified "
# How lines begin that report it.
RIDDEN = (_VERIFIED, b"ridden ")
_RIDDEN = re.compile(rb"ridden (\d{1,6}) ([ -~]+)")
_ROOM = re.compile(r"room (\d{1,18}) (\d{1,18})")


@dataclass(frozen=True, slots=True, kw_only=True)
class Ridden:
    """The verification that ran with the end of a download: its whole log, and how it ended."""

    log: bytes
    ended: Ended


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """``exit_code`` None: unknown; without any other field set, the attempt was killed. ``disk_full``: the disk of the
    attempt's own directory was full at the end. ``refused``: why nothing could be started there at all.
    ``no_room``: the bytes that a run announced, and those that were free. ``ledger``: the records of the runs of tools,
    None where the attempt keeps none. ``ridden``: the verification, if it ran already."""

    exit_code: int | None
    timed_out: bool = False
    stalled: bool = False
    instance_lost: bool = False
    disk_full: bool = False
    tool_missing: str | None = None
    refused: str | None = None
    no_room: tuple[int, int] | None = None
    ledger: tuple[str, ...] | None = field(default=None, compare=False)
    ridden: Ridden | None = field(default=None, compare=False)


def ridden_of(lines: Sequence[bytes]) -> Ridden | None:
    """The verification that these lines report: ``verified`` and a line of its log each, then ``ridden``, the length of
    the log and how it ended. None where it did not run, or a part of the report is lost."""
    log = b"".join(line.removeprefix(_VERIFIED) + b"\n" for line in lines if line.startswith(_VERIFIED))
    found = next((match for line in lines if (match := _RIDDEN.fullmatch(line))), None)
    if found is None or int(found[1]) != len(log):
        return None
    return Ridden(log=log, ended=ended_of(found[2].decode()))


def ended_of(line: str) -> Ended:
    """The end that this line of the instance describes. Raises LinkDown when the attempt has not ended, LeaseLost when
    a later owner of its job was there."""
    line = line.strip()
    if (found := _EXIT.fullmatch(line)) is not None:
        status, how, free_kib = found.groups()
        return Ended(
            exit_code=int(status),
            timed_out=how == "1",
            stalled=how == "2",
            disk_full=free_kib != "-" and int(free_kib) < FREE_KIB_MIN,
        )
    if (found := _ROOM.fullmatch(line)) is not None:
        return Ended(exit_code=None, no_room=(int(found[1]), int(found[2])))
    word, _, rest = line.partition(" ")
    match word:
        case "held":
            raise NoAnswer("the attempt still runs, but its log could not be followed")
        case "stale":
            raise LeaseLost(STALE)
        case "unprepared":
            raise LinkDown("the programs that the service had sent are gone from the instance")
        case "refused":
            return Ended(exit_code=None, refused=rest[:REASON_CHARACTERS_MAX])
        case "missing":
            return Ended(exit_code=None, tool_missing=rest)
        case "lost":
            return Ended(exit_code=None, instance_lost=True)
        case "full":
            return Ended(exit_code=None, disk_full=True)
    # "killed", or an `exit` file that is not valid: it was written onto a full disk, or not by the supervisor.
    return Ended(exit_code=None)
