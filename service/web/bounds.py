"""How many connections clients may hold together, and what aiohttp allows each of them."""

from __future__ import annotations

import resource
from typing import Any

# Descriptors that clients never get: a link, a name that is looked up and a reader of the database for each job at
# work, and what the process itself has open.
RESERVE = 64
RESERVE_PER_JOB = 4
CONNECTIONS_MIN = 16
CONNECTIONS_MAX = 20_000
# aiohttp's own bounds: a line, a field and their number in a head, a body that nobody reads yet, an idle connection,
# and what it still reads of a refused body.
HTTP_BOUNDS: dict[str, Any] = {
    "max_line_size": 8_190,
    "max_field_size": 8_190,
    "max_headers": 64,
    "read_bufsize": 32 << 10,
    "keepalive_timeout": 75.0,
    "lingering_time": 5.0,
}


def connections_max(max_concurrent_jobs: int) -> int:
    """How many connections clients may hold: the process's limit of descriptors, less what the work needs."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limit == resource.RLIM_INFINITY:
        return CONNECTIONS_MAX
    free = limit - RESERVE - RESERVE_PER_JOB * min(max_concurrent_jobs, 100)
    return max(CONNECTIONS_MIN, min(CONNECTIONS_MAX, free))
