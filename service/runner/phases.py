"""The two phases of an attempt, which run separately on the instance: the download, and the verification of its files.

Each phase knows its program, the parser of its output, its verdict, and what its success means for the resource.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Protocol

from service.events.causes import Cause
from service.events.event_types import Event, VerificationStarted
from service.events.job import DOWNLOAD, VERIFY, Job, ResourceProgress, ResourceState
from service.events.ledger import Evidence
from service.events.parser import ProgressParser
from service.events.recorded_event import NewEvent
from service.events.run_records import MARK_CHARACTERS
from service.library import Resource
from service.runner.instance.ended import Ended
from service.runner.instance.findings import Findings, VerificationParser
from service.runner.instance.verification import ExpectedFile, expectations, verify_program
from service.runner.outcome import Outcome, failed, goes_past_failures, judge, ledger_of

Redact = Callable[[str], str]


class Parser(Protocol):
    """Bytes in, events out; ``evidence`` after the end. ``announced_too_much``: the bytes that a download has just
    announced and that were not free when the attempt began; None for none."""

    def feed(self, chunk: bytes) -> list[NewEvent]: ...

    def close(self, exit_code: int | None) -> list[NewEvent]: ...

    @property
    def announced_too_much(self) -> int | None: ...

    @property
    def evidence(self) -> Evidence: ...


class Phase(Protocol):
    """One phase of a resource's current attempt.

    ``directory``: its name below the job's directory on the instance. ``is_card``: whether its program is the card's,
    which gets tools and keys. ``is_measured``: whether the bytes that it reports say how long the job will still take.
    ``mark``: what the records of its runs begin with in its log, empty where it keeps none.
    """

    directory: str
    mark: str
    parser: Parser
    is_card: bool
    is_measured: bool

    def program(self, card: Resource) -> str:
        """The bash script that runs on the instance."""

    def riding(self, card: Resource) -> str:
        """What the next phase has to know, where it may run with the end of this one; empty for none."""

    def verdict(self, ended: Ended) -> Outcome:
        """Asked once the parser is closed."""

    def partial_files(self, ended: Ended) -> list[str]:
        """The half files that its runs left, as the ledger names them."""

    def start_of_next(self, job: Job) -> Event | None:
        """After success: the event that starts the next phase, or None when the resource is installed."""


# How the names of the directories end. They stay as they are: attempts that an earlier version launched are found by
# them, and the verification's program finds the download's directory by its own name without the ending.
_ENDINGS = {DOWNLOAD: "", VERIFY: "-verify"}


def directories_of(resource: ResourceProgress) -> list[str]:
    """The directories of both phases; a signal goes to whichever is running."""
    return [_directory(resource, phase) for phase in _ENDINGS]


def directories_ahead(job: Job) -> list[str]:
    """Those of the downloads that the job has not begun at all."""
    waiting = (resource for resource in job.resources if resource.state is ResourceState.PENDING)
    return [_directory(resource._replace(attempt=1), DOWNLOAD) for resource in waiting if not resource.attempt]


def _directory(resource: ResourceProgress, phase: str) -> str:
    return f"{resource.number}-{resource.attempt}{_ENDINGS[phase]}"


class Download:
    """Runs the card."""

    is_card = True
    is_measured = True

    def __init__(self, resource: ResourceProgress, redact: Redact, job: Job, card: Resource | None) -> None:
        self.directory = _directory(resource, DOWNLOAD)
        self.mark = mark_of(job.job_id, self.directory)
        self._redact = redact
        self._verifies = job.verify
        # The verification fails if a file that the card names is not there.
        self._may_leave_nothing = card is not None and (
            card.installs_nothing or (bool(card.front.files) and job.verify)
        )
        self._may_end_with_a_test = card is not None and goes_past_failures(card.script)
        self.parser: Parser = ProgressParser(
            resource=resource.resource,
            attempt=resource.attempt,
            title=resource.title,
            redact=redact,
            mark=self.mark,
            estimate_bytes=card.size_bytes if card is not None else None,
        )

    def program(self, card: Resource) -> str:
        return card.script

    def riding(self, card: Resource) -> str:
        return expectations(files=_expected_of(card), sha256=card.front.sha256) if self._verifies else ""

    def verdict(self, ended: Ended) -> Outcome:
        evidence = self.parser.evidence
        return judge(
            evidence,
            ended,
            may_leave_nothing=self._may_leave_nothing,
            may_end_with_a_test=self._may_end_with_a_test,
            redact=self._redact,
        )

    def partial_files(self, ended: Ended) -> list[str]:
        ledger = ledger_of(self.parser.evidence, ended, self._redact)
        return list(ledger.parts) if ledger is not None else []

    def start_of_next(self, job: Job) -> Event | None:
        return VerificationStarted() if job.verify else None


class Verification:
    """Checks the files that the download left."""

    is_card = False
    is_measured = False
    mark = ""

    def __init__(self, resource: ResourceProgress, redact: Redact, job: Job, card: Resource | None) -> None:
        self.directory = _directory(resource, VERIFY)
        self._parser = VerificationParser(resource=resource.resource, attempt=resource.attempt, redact=redact)
        self.parser: Parser = self._parser

    def program(self, card: Resource) -> str:
        return verify_program(files=_expected_of(card), sha256=card.front.sha256)

    def riding(self, card: Resource) -> str:
        return ""

    def verdict(self, ended: Ended) -> Outcome:
        return judge_verification(self._parser.findings, self._parser.evidence, ended)

    def partial_files(self, ended: Ended) -> list[str]:
        return []

    def start_of_next(self, job: Job) -> Event | None:
        return None


def _expected_of(card: Resource) -> list[ExpectedFile]:
    return [ExpectedFile(path=f.path, sha256=f.sha256, size_bytes=f.size) for f in card.front.files]


_PHASES: dict[str, Callable[[ResourceProgress, Redact, Job, Resource | None], Phase]] = {
    DOWNLOAD: Download,
    VERIFY: Verification,
}


def phase_of(resource: ResourceProgress, redact: Redact, job: Job, card: Resource | None) -> Phase:
    """The phase that this resource's attempt is at, with a fresh parser. ``card`` None: it is no longer there."""
    return _PHASES[resource.phase](resource, redact, job, card)


def mark_of(job_id: str, directory: str) -> str:
    """The mark of an attempt. A job's id is random, so no web server can print a line that begins with it; a parser
    after a restart finds the same one."""
    return hashlib.sha256(f"{job_id}/{directory}".encode()).hexdigest()[:MARK_CHARACTERS]


def judge_verification(findings: Findings, evidence: Evidence, ended: Ended) -> Outcome:
    """The verdict about a verification. It succeeds only if every file was examined and none was wrong."""
    if findings.missing_tool is not None:
        error = f"the verification needs {findings.missing_tool}, which is not installed on the instance"
        return failed(Cause.TOOL_MISSING, error, ended.exit_code)
    if findings.is_complete and findings.problems:
        more = len(findings.problems) - 1
        others = f" (and {more} more)" if more else ""
        return failed(Cause.VERIFICATION_FAILED, findings.problems[0] + others, ended.exit_code)
    outcome = judge(evidence, ended, may_leave_nothing=True)
    if outcome.installed and not findings.is_complete:
        return failed(Cause.VERIFICATION_FAILED, "the verification ended without a finding", ended.exit_code)
    return outcome
