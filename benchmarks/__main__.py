"""``python -m benchmarks [--quick] [--only append,broadcast,…] [--save]``"""

from __future__ import annotations

import argparse
import logging
import os
import time

import uvloop

from benchmarks import (
    append,
    broadcast,
    ciphers,
    claims,
    commits,
    dashboard,
    first_byte,
    followers,
    growth,
    history,
    installs,
    latency,
    memory,
    parsing,
    pieces,
    postgres,
    retention,
    streams,
)
from benchmarks.table import show

PARTS = {
    "append": append,
    "postgres": postgres,
    "followers": followers,
    "growth": growth,
    "retention": retention,
    "commits": commits,
    "pieces": pieces,
    "broadcast": broadcast,
    "ciphers": ciphers,
    "latency": latency,
    "streams": streams,
    "parsing": parsing,
    "memory": memory,
    "claims": claims,
    "dashboard": dashboard,
    "installs": installs,
    "first_byte": first_byte,
}


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--quick", action="store_true", help="under a minute: fewer and shorter repetitions")
    arguments.add_argument("--only", default=",".join(PARTS), help="which parts, with commas between")
    arguments.add_argument("--save", action="store_true", help="as the figures of this version, and draw the plot anew")
    given = arguments.parse_args()
    logging.basicConfig(level=logging.WARNING)
    load, begin = os.getloadavg()[0], time.monotonic()
    rows, took = [], []
    for name in given.only.split(","):
        part_begin = time.monotonic()
        rows += uvloop.run(PARTS[name].run(given.quick))
        took.append(f"{name} {time.monotonic() - part_begin:.0f} s")
    show(rows)
    if given.save:
        print(f"saved as {history.save(rows, load)}")
        history.plot()
    print(f"took {time.monotonic() - begin:.0f} s ({', '.join(took)}); load before it: {load:.1f}")


if __name__ == "__main__":
    main()
