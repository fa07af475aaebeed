"""``python other_clock.py -m service …``: the service on a machine whose wall clock can be set. The file that
ATTACK_CLOCK names holds by how many seconds it is wrong; it is read again at each look at the clock."""

import os
import runpy
import sys
import time
from pathlib import Path

# Opened once: the suite lets nobody open a file on the loop.
FILE = os.open(os.environ["ATTACK_CLOCK"], os.O_RDONLY)
real_ns = time.time_ns


def wrong_ns() -> int:
    return real_ns() + int(float(os.pread(FILE, 100, 0)) * 1e9)


time.time_ns = wrong_ns
time.time = lambda: wrong_ns() / 1e9
sys.argv = sys.argv[2:]
sys.path.insert(0, str(Path.cwd()))
runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
