"""Hundreds of instances that are one machine with one user, for which Linux has 128 inotify instances.

Each ``tail -f`` takes one, and is woken by what is written to its file. A tail that gets none polls its file, and then
its interval is what is measured. Real instances are separate machines, each with a limit of its own. So the limit is
raised while such a case is measured, if this process may do that, and put back afterwards; the tails that poll all the
same are counted, since what they deliver says nothing about the service.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

logger = logging.getLogger(__name__)

LIMITS = Path("/proc/sys/fs/inotify")
# One tail each of the service and of a bare process, and those of the turn before that have not ended yet.
TAILS_A_JOB = 4
# Of the log, and of the file by which the service wakes its tail.
WATCHES_A_TAIL = 3
OTHERS = 128
# The service's own, and tail's.
SERVICE_LOOKS, BARE_LOOKS = "every 0.1 s", "every second"


@contextmanager
def one_for_each(jobs: int, limits: Path = LIMITS) -> Iterator[None]:
    """Within the block, this user may have an inotify instance for each tail of this many jobs."""
    tails = TAILS_A_JOB * jobs
    with ExitStack() as stack:
        stack.enter_context(_at_least(limits / "max_user_instances", OTHERS + tails))
        stack.enter_context(_at_least(limits / "max_user_watches", OTHERS + tails * WATCHES_A_TAIL))
        yield


@contextmanager
def _at_least(limit: Path, wanted: int) -> Iterator[None]:
    if not limit.exists():
        yield
        return
    usual = int(limit.read_text(encoding="utf-8"))
    is_raised = usual < wanted and _set(limit, wanted)
    try:
        yield
    finally:
        if is_raised:
            _set(limit, usual)


def _set(limit: Path, value: int) -> bool:
    try:
        limit.write_text(f"{value}\n", encoding="utf-8")
    except OSError as error:
        logger.warning("fs.inotify.%s stays as it is and not %d: %s", limit.name, value, error.strerror)
        return False
    return True


def without_inotify(pids: Iterable[int]) -> int:
    """How many of these processes are tails that nothing wakes: they look from time to time."""
    return sum(_is_tail(pid) and not _is_woken(pid) for pid in pids)


def _is_tail(pid: int) -> bool:
    with suppress(OSError):
        return Path(f"/proc/{pid}/comm").read_text(encoding="utf-8").strip() == "tail"
    return False


def _is_woken(pid: int) -> bool:
    """Whether it has an inotify instance that watches something; true of one that has ended meanwhile."""
    try:
        return any("inotify wd:" in each.read_text() for each in Path(f"/proc/{pid}/fdinfo").iterdir())
    except (FileNotFoundError, ProcessLookupError):
        return True
    except PermissionError:
        return False
