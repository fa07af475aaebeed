"""How an attempt ended: the instance reports it in the last line on standard error, after the nonce."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from service.errors import NoAnswer

FREE_KIB_MIN = 64
REASON_CHARACTERS_MAX = 300

_EXIT = re.compile(r"exit (\d{1,3}) ([012]) (\d{1,15}|-)")
_ROOM = re.compile(r"room (\d{1,18}) (\d{1,18})")


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """``exit_code`` None: unknown; without any other field set, the attempt was killed. ``disk_full``: the disk of the
    attempt's own directory was full at the end. ``refused``: why nothing could be started there at all.
    ``no_room``: the bytes that a run announced, and those that were free. ``ledger``: the records of the runs of tools,
    None where the attempt keeps none."""

    exit_code: int | None
    timed_out: bool = False
    stalled: bool = False
    instance_lost: bool = False
    disk_full: bool = False
    tool_missing: str | None = None
    refused: str | None = None
    no_room: tuple[int, int] | None = None
    ledger: tuple[str, ...] | None = field(default=None, compare=False)


def ended_of(line: str) -> Ended:
    """The end that this line of the instance describes. Raises LinkDown when the attempt has not ended."""
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
