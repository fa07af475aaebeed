"""What a lying instance runs in place of each command: the real ``sh``, and lies about what it prints.

Its only argument is a JSON file that is read at each session: ``out`` and ``err`` are pairs of a pattern and what
stands in its place (latin-1; @NONCE@ and @MARK@ are the program's), ``before`` is printed first, byte by byte where
``drip`` is true, ``mode`` is "silent" (print nothing, for ever) or "deaf" (print the nonce and nothing more). The
standard library alone: it starts often.
"""

import json
import os
import re
import subprocess
import sys
import threading
import time
from functools import partial
from typing import IO

with open(sys.argv[1], encoding="utf-8") as file:
    rules = json.load(file)
program = sys.stdin.buffer.read()


def value_of(name: bytes) -> bytes:
    found = re.search(rb"^" + name + rb"='?([0-9a-f]+)", program, re.M)
    return found[1] if found else b""


NONCE, MARK = value_of(b"nonce"), value_of(b"mark")


def write(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]


def filled(text: str) -> bytes:
    return text.encode("latin-1").replace(b"@NONCE@", NONCE).replace(b"@MARK@", MARK)


def _same(instead: bytes, _found: re.Match[bytes]) -> bytes:
    return instead


def pump(source: IO[bytes], target: int, pairs: list[list[str]]) -> None:
    compiled = [(re.compile(filled(a), re.M), filled(b)) for a, b in pairs]
    while chunk := os.read(source.fileno(), 65536):
        for pattern, instead in compiled:
            # A function: a backslash in what stands in its place is nothing but a backslash.
            chunk = pattern.sub(partial(_same, instead), chunk)
        write(target, chunk)


def main() -> None:
    before = rules.get("before", "").encode("latin-1")
    if rules.get("mode") == "deaf":
        write(1, b"\n" + NONCE + b"\n")
    if rules.get("mode"):
        time.sleep(3600)
    if rules.get("drip"):
        for n in range(len(before)):
            write(1, before[n : n + 1])
    else:
        write(1, before)
    shell = subprocess.Popen(
        ["sh", "-c", os.environ.get("SSH_ORIGINAL_COMMAND", "exec sh")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert shell.stdin is not None
    assert shell.stdout is not None
    assert shell.stderr is not None
    pumps = [
        threading.Thread(target=pump, args=(shell.stdout, 1, rules.get("out", [])), daemon=True),
        threading.Thread(target=pump, args=(shell.stderr, 2, rules.get("err", [])), daemon=True),
    ]
    for each in pumps:
        each.start()
    shell.stdin.write(program)
    shell.stdin.close()
    for each in pumps:
        each.join()
    os._exit(shell.wait())


try:
    main()
except OSError:
    os._exit(1)
