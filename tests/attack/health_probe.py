"""Asks /healthz again and again over one connection, and writes a line for each answer: when it was asked (monotonic
seconds), how long it took, and how much processor time the service's event loop used meanwhile (both in seconds). A
process of its own, so that the attack's work does not count. Arguments: port, process id of the service, file."""

import socket
import sys
import time

EVERY_SECONDS = 0.02
TIMEOUT_SECONDS = 120
REQUEST = b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"


def loop_seconds(pid: str) -> float:
    """Of the main thread, which runs the event loop."""
    with open(f"/proc/{pid}/task/{pid}/schedstat", encoding="ascii") as file:
        return int(file.read().split()[0]) / 1e9


def ask(connection: socket.socket) -> None:
    connection.sendall(REQUEST)
    answer = b""
    while b"\r\n\r\n" not in answer or not answer.endswith(b"}"):
        more = connection.recv(4096)
        if not more:
            raise ConnectionError
        answer += more


def main(port: str, pid: str, path: str) -> None:
    connection: socket.socket | None = None
    with open(path, "a", encoding="ascii", buffering=1) as file:
        while True:
            begin, used = time.monotonic(), loop_seconds(pid)
            try:
                if connection is None:
                    connection = socket.create_connection(("127.0.0.1", int(port)), TIMEOUT_SECONDS)
                    begin = time.monotonic()
                ask(connection)
            except TimeoutError:
                file.write(f"{begin} {TIMEOUT_SECONDS} {TIMEOUT_SECONDS}\n")
                return
            except ConnectionError:
                connection = None
                time.sleep(EVERY_SECONDS)
                continue
            file.write(f"{begin} {time.monotonic() - begin} {loop_seconds(pid) - used}\n")
            time.sleep(EVERY_SECONDS)


try:
    main(*sys.argv[1:])
except FileNotFoundError:  # the service has ended
    sys.exit(0)
