"""The loop watchdog: what keeps an event loop busy for too long, or blocks its thread, fails the test that did it.

A callback counts by the processor time of its thread, which a busy machine does not stretch. While one runs, a second
thread takes samples of its stack, so that a trip names the line and not only the task. Blocking calls are found by an
audit hook, and only those that the service's own code makes on a thread whose loop runs.
"""

from __future__ import annotations

import asyncio
import functools
import gc
import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

REPORT_VARIABLE = "LOOP_WATCH_REPORT"
CALLBACK_SECONDS_MAX = 0.1
SAMPLE_SECONDS = 0.02
SAMPLES_MAX = 20

ROOT = Path(__file__).parents[2]
_SERVICE = f"{ROOT / 'service'}/"
_ELSEWHERE = tuple(f"{ROOT / folder}/" for folder in ("service/demo", "service/terminal", "tests", "benchmarks"))
_OWN = __file__

_BLOCKING = frozenset(
    {
        "open",
        "fcntl.flock",
        "fcntl.lockf",
        "os.chmod",
        "os.chown",
        "os.link",
        "os.listdir",
        "os.mkdir",
        "os.remove",
        "os.rename",
        "os.rmdir",
        "os.scandir",
        "os.symlink",
        "os.system",
        "os.truncate",
        "os.utime",
        "shutil.copyfile",
        "shutil.rmtree",
        "socket.connect",
        "socket.getaddrinfo",
        "socket.gethostbyname",
        "sqlite3.connect",
        "subprocess.Popen",
        "time.sleep",
    }
)
# What may block the loop's thread, and why: (file of the innermost frame of the service, its function) -> reason.
# Always allowed are imports, the sources that the traceback of an unexpected error shows, and in a process of its own
# all that comes before the service listens. At present there is nothing else.
ALLOWED: dict[tuple[str, str], str] = {}


class LoopWatch:
    """``report``: the file that gets one JSON object a trip. ``whole_process``: every callback is the service's, as in
    a process of its own; else only what runs code of ``service/`` and none of a test."""

    def __init__(self, report: Path, *, whole_process: bool) -> None:
        # Opened once: to open it at a trip would be one more.
        self._report = os.open(report, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        self._whole_process = whole_process
        self._begun: dict[int, tuple[float, int]] = {}
        self._samples: dict[int, list[list[str]]] = {}
        self._gc_seconds = 0.0
        self._gc_begun = 0.0
        self._is_on = False

    def start(self) -> None:
        """From here on trips count."""
        if not self._is_on:
            self._is_on = True
            threading.Thread(target=self._sample, name="loop-watch", daemon=True).start()
            sys.addaudithook(self._audit)
            gc.callbacks.append(self._collecting)

    def call(self, callback: Callable[..., Any], *arguments: Any) -> Any:
        """Call it, and count its time if it is not called by a callback that is counted already."""
        thread = threading.get_ident()
        if not self._is_on or thread in self._begun:
            return callback(*arguments)
        collected, begin = self._gc_seconds, time.thread_time()
        self._begun[thread] = (begin, time.pthread_getcpuclockid(thread))
        try:
            return callback(*arguments)
        finally:
            seconds, collecting = time.thread_time() - begin, self._gc_seconds - collected
            del self._begun[thread]
            if not self._whole_process:
                # The heap of pytest is not the service's, so neither is the time to look through it.
                seconds -= collecting
            if seconds > CALLBACK_SECONDS_MAX:
                self._took(callback, seconds, collecting, self._samples.pop(thread, []))
            elif self._samples:
                self._samples.pop(thread, None)

    def watched(self, method: Callable[..., Any]) -> Callable[..., Any]:
        """The method, counted."""

        @functools.wraps(method)
        def call(*arguments: Any) -> Any:
            return self.call(method, *arguments)

        return call

    def _took(self, callback: Callable[..., Any], seconds: float, collecting: float, samples: list[list[str]]) -> None:
        codes = list(_codes(callback))
        stacks = [stack for stack in samples if self._is_ours(stack)]
        if stacks or (not samples and self._is_ours([_place(code, code.co_firstlineno) for code in codes])):
            what = f"{seconds:.3f} s in {_name(callback, codes)}, {collecting:.3f} s of garbage collection"
            self._trip("slow", what, stacks[:SAMPLES_MAX])

    def _is_ours(self, places: Iterable[str]) -> bool:
        if self._whole_process:
            return True
        places = list(places)
        is_elsewhere = any(place.startswith(_ELSEWHERE) for place in places)
        return not is_elsewhere and any(place.startswith(_SERVICE) for place in places)

    def _sample(self) -> None:
        while True:
            time.sleep(SAMPLE_SECONDS)
            for thread, (begin, clock) in list(self._begun.items()):
                try:
                    spent = time.clock_gettime(clock) - begin
                except OSError:
                    continue
                if spent <= CALLBACK_SECONDS_MAX / 3:
                    continue
                frame = _frame_of(thread)
                if frame is not None and thread in self._begun:
                    samples = self._samples.setdefault(thread, [])
                    samples.append(_stack(frame))
                    del samples[:-SAMPLES_MAX]

    def _collecting(self, phase: str, _info: Any) -> None:
        if phase == "start":
            self._gc_begun = time.thread_time()
        else:
            self._gc_seconds += time.thread_time() - self._gc_begun

    def _audit(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event not in _BLOCKING or asyncio._get_running_loop() is None:
            return
        if event == "socket.connect" and arguments[0].gettimeout() == 0:
            return
        frame = sys._getframe(1)
        stack = _stack(frame)
        if any("importlib" in place or "linecache.py" in place for place in stack):
            return
        own = next((place for place in stack if place.startswith(_SERVICE)), None)
        if own is None or not self._is_ours(stack):
            return
        path, _, function = own.removeprefix(f"{ROOT}/").split(":")
        if (path, function) not in ALLOWED:
            self._trip("blocking", f"{event} {arguments[:1]!r:.200} in {own}", [stack])

    def _trip(self, kind: str, what: str, stacks: list[list[str]]) -> None:
        line = json.dumps({"kind": kind, "what": what, "pid": os.getpid(), "stacks": stacks})
        os.write(self._report, f"{line}\n".encode())


def watch_asyncio(watch: LoopWatch) -> None:
    """Count every callback of asyncio's own loops in this process."""
    run = asyncio.Handle._run

    def _run(handle: asyncio.Handle) -> None:
        callback = handle._callback  # type: ignore[attr-defined]
        if callback is None:
            run(handle)
        else:
            watch.call(_Named(run, callback), handle)

    asyncio.Handle._run = _run  # type: ignore[assignment,method-assign]


class _Named:
    """Calls the first, and goes by the name of the second."""

    __slots__ = ("__self__", "named", "run")

    def __init__(self, run: Callable[..., Any], named: Callable[..., Any]) -> None:
        self.run, self.named, self.__self__ = run, named, getattr(named, "__self__", None)

    def __call__(self, *arguments: Any) -> Any:
        return self.run(*arguments)


def _stack(frame: FrameType | None) -> list[str]:
    """The places of the frames, innermost first, up to the loop that runs the callback."""
    places: list[str] = []
    while frame is not None:
        code = frame.f_code
        if code.co_filename == _OWN and code.co_name == "call":
            break
        places.append(_place(code, frame.f_lineno))
        frame = frame.f_back
    return places


def _frame_of(thread: int) -> FrameType | None:
    """What this thread runs. Without a collection: Python 3.11 holds a lock meanwhile, and a collection that frees
    something local to a thread waits for that very lock, with the interpreter's, for ever (CPython's issue 106883)."""
    is_enabled = gc.isenabled()
    gc.disable()
    try:
        return sys._current_frames().get(thread)
    finally:
        if is_enabled:
            gc.enable()


def _place(code: CodeType, line: int) -> str:
    return f"{code.co_filename}:{line}:{code.co_qualname}"


def _codes(callback: Any) -> Iterable[CodeType]:
    """The code of the callback; of a task that of its coroutine and of all that this waits for."""
    callback = getattr(callback, "named", callback)
    task = getattr(callback, "__self__", None)
    if isinstance(task, asyncio.Task):
        coroutine: Any = task.get_coro()
        while coroutine is not None:
            code = getattr(coroutine, "cr_code", None) or getattr(coroutine, "ag_code", None)
            if code is not None:
                yield code
            coroutine = getattr(coroutine, "cr_await", None) or getattr(coroutine, "ag_await", None)
        return
    while isinstance(callback, functools.partial):
        callback = callback.func
    code = getattr(callback, "__code__", None)
    if isinstance(code, CodeType):
        yield code


def _name(callback: Any, codes: list[CodeType]) -> str:
    named = getattr(callback, "named", callback)
    task = getattr(named, "__self__", None)
    name = f"task {task.get_name()}: " if isinstance(task, asyncio.Task) else ""
    return name + (" > ".join(code.co_qualname for code in codes) or repr(named))
