"""The ledger of an attempt: each run of a tool, where it wrote, and how it ended. Pure, bounded and total.

It is made twice from the same records: while the log is read (events, and the words that belong to a run), and from
the lines that the instance sends with the attempt's end, which the verdict prefers.
"""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from service.events.run_records import Begin, End, Kept, Length, Part, Record, Written, record_of

RUNS_MAX = 1_000
# curl -f says so of a file that it was asked to continue and that has no byte left to load.
CURL_HTTP_ERROR = 22
CURL_NO_RANGE = "returned error: 416"
FILES_MAX = 2_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One execution of a tool. ``exit_code`` None: nobody wrote down its end, so it was killed. ``words``: the lines
    that read like errors and came while it lived. ``files`` it wrote, ``kept`` it found whole, ``parts`` are halves."""

    token: str
    tool: str
    is_judged: bool = True
    kind: str = "file"
    destination: str | None = None
    address: str | None = None
    announced_bytes: int | None = None
    exit_code: int | None = None
    kept: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    parts: tuple[str, ...] = ()
    bytes: int | None = None
    words: tuple[str, ...] = ()

    @property
    def name(self) -> str | None:
        """The base name of what it loads, as far as it is known."""
        if self.kind == "file" and self.destination:
            return base_name(self.destination) or None
        path = next(iter(self.files or self.kept), None) or next((p.removesuffix(".part") for p in self.parts), None)
        return base_name(path or "") or name_by(self.address, self.destination)

    @property
    def target(self) -> tuple[str, str]:
        """What a later run with the same target loads once more. In a folder, the address tells files apart."""
        where = posixpath.normpath(self.destination) if self.destination else ""
        return where, "" if self.kind == "file" else base_name(self.address or "")

    @property
    def targets(self) -> set[tuple[str, str]]:
        """Its target, and that of another tool that loads the same files by their path or into their folder."""
        paths = {*self.files, *self.kept, *([self.destination] if self.kind == "file" and self.destination else [])}
        found = {(posixpath.normpath(path), "") for path in paths}
        return found | {posixpath.split(path) for path, _ in found} | {self.target}

    @property
    def is_whole(self) -> bool:
        """It loaded its file, or the file was whole already: then some tools end with an error (curl: 22, HTTP 416)."""
        return self.exit_code == 0 or bool(self.kept) or self._had_nothing_to_continue

    @property
    def _had_nothing_to_continue(self) -> bool:
        return (
            self.tool == "curl"
            and self.exit_code == CURL_HTTP_ERROR
            and any(CURL_NO_RANGE in line for line in self.words)
            and not self.parts
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class RunLedger:
    """The runs in the order of their beginnings. ``loose_files``: files that came or were kept without a run;
    ``loose_parts``: halves that came without one."""

    runs: tuple[Run, ...] = ()
    loose_files: tuple[str, ...] = ()
    loose_parts: tuple[str, ...] = ()

    @classmethod
    def parse(cls, lines: Iterable[str], redact: Callable[[str], str]) -> RunLedger:
        book = RunBook()
        for line in lines:
            record = record_of(line, redact)
            if record is not None:
                book.add(record)
        return book.ledger

    def with_the_log(self, log: RunLedger) -> RunLedger:
        """This ledger, with what only the log shows: the words of each run, and runs that came before its bound."""
        of_log = {run.token: run for run in log.runs}
        own = {run.token for run in self.runs}
        runs = [replace(run, words=of_log[run.token].words) if run.token in of_log else run for run in self.runs]
        earlier = [run for run in log.runs if run.token not in own]
        return RunLedger(
            runs=(*earlier, *runs),
            loose_files=self.loose_files or log.loose_files,
            loose_parts=self.loose_parts or log.loose_parts,
        )

    def failures(self) -> tuple[Run, ...]:
        """The judged runs that failed or never ended, and that no later run of the same target made good."""
        healed: set[tuple[str, str]] = set()
        failed: list[Run] = []
        for run in reversed(self.runs):
            if run.is_whole:
                healed.update(run.targets)
            elif run.is_judged and run.target not in healed:
                failed.append(run)
        return tuple(reversed(failed))

    @property
    def has_installed(self) -> bool:
        """Whether anything that counts as a file was loaded or kept."""
        return bool(self.loose_files) or any(run.is_whole for run in self.runs if run.is_judged or run.kept)

    def explains(self, exit_code: int) -> bool:
        """Whether the script ended with the status of its last run, which found its file whole all the same."""
        last = self.runs[-1] if self.runs else None
        return last is not None and last.is_whole and last.exit_code == exit_code != 0

    @property
    def parts(self) -> tuple[str, ...]:
        """The half files, each once."""
        return tuple(dict.fromkeys([*(part for run in self.runs for part in run.parts), *self.loose_parts]))


class RunBook:
    """``add`` the records in order; ``ledger`` is what they add up to."""

    def __init__(self) -> None:
        self._runs: dict[str, Run] = {}
        self._loose: dict[str, None] = {}
        self._loose_parts: dict[str, None] = {}
        self._files = 0

    def add(self, record: Record) -> None:
        if isinstance(record, Begin):
            self._begin(record)
        elif isinstance(record, Kept | Written | Part):
            self._file(record)
        elif isinstance(record, Length):
            self._change(record.token, announced_bytes=record.bytes)
        elif isinstance(record, End):
            self._change(record.token, exit_code=record.exit_code)

    @property
    def ledger(self) -> RunLedger:
        return self.ledger_with_words({})

    def ledger_with_words(self, words: Mapping[str, Sequence[str]]) -> RunLedger:
        runs = tuple(replace(run, words=tuple(words.get(run.token, ()))) for run in self._runs.values())
        return RunLedger(runs=runs, loose_files=tuple(self._loose), loose_parts=tuple(self._loose_parts))

    def _begin(self, record: Begin) -> None:
        if record.token in self._runs or len(self._runs) >= RUNS_MAX:
            return
        self._runs[record.token] = Run(
            token=record.token,
            tool=record.tool,
            is_judged=record.is_judged,
            kind=record.kind,
            destination=record.destination,
            address=record.address,
        )

    def _file(self, record: Kept | Written | Part) -> None:
        if self._files >= FILES_MAX:
            return
        self._files += 1
        run = self._runs.get(record.token)
        if run is None:
            (self._loose_parts if isinstance(record, Part) else self._loose)[record.path] = None
        elif isinstance(record, Kept):
            self._change(record.token, kept=(*run.kept, record.path))
        elif isinstance(record, Written):
            self._change(record.token, files=(*run.files, record.path), bytes=(run.bytes or 0) + record.bytes)
        else:
            self._change(record.token, parts=(*run.parts, record.path))

    def _change(self, token: str, **changes: Any) -> None:
        run = self._runs.get(token)
        if run is not None:
            self._runs[token] = replace(run, **changes)


def name_by(address: str | None, destination: str | None) -> str | None:
    """What a run into a folder loads: the name at the end of its address, which tells more than the folder. An argument
    of hf or civitdl is not an address."""
    name = base_name(address) if address is not None and "://" in address else ""
    return name or base_name(destination or "") or None


def base_name(path: str) -> str:
    """The last part of a path or an address, without what follows a question mark in an address."""
    path = path.partition("?")[0] if "://" in path else path
    return posixpath.basename(path.rstrip("/"))
