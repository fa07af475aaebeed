"""``python -m benchmarks [--quick] [--only append,broadcast,…]``"""

from __future__ import annotations

import argparse
import logging

import uvloop

from benchmarks import append, broadcast, latency, memory, parsing
from benchmarks.table import show

PARTS = {"append": append, "broadcast": broadcast, "latency": latency, "parsing": parsing, "memory": memory}


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--quick", action="store_true", help="under a minute: fewer and shorter repetitions")
    arguments.add_argument("--only", default=",".join(PARTS), help="which parts, with commas between")
    given = arguments.parse_args()
    logging.basicConfig(level=logging.WARNING)
    rows = []
    for name in given.only.split(","):
        rows += uvloop.run(PARTS[name].run(given.quick))
    show(rows)


if __name__ == "__main__":
    main()
