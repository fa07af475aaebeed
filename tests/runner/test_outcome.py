"""The verdict: what the tools said and their exit status, for real transcripts and for every cause."""

from __future__ import annotations

from pathlib import Path

import pytest

from service.events.event_types import Cause
from service.events.parser import ProgressParser
from service.runner.outcome import HINTS, Ended, Outcome, judge

FOLDER = Path(__file__).parents[1] / "transcripts"
STARTED = 'Now downloading "{0}"...\n  - Model ID: {1}\n  - Version ID: {2}\n'
COMPLETED = 'Download completed for "{0}"\n  - Model ID: {1}\n  - Version ID: {2}\n'
RETRYING = "Retrying to download the current model...\n"
GAVE_UP = "Max retry of 1 reached. Skipping the current model...\n"


def block(text: str) -> str:
    return f"---------\n{text}\n---------\n"


def verdict(output: str | bytes, exit_code: int | None = 0, **ended: object) -> Outcome:
    parser = ProgressParser()
    parser.feed(output if isinstance(output, bytes) else output.encode())
    parser.close(exit_code)
    return judge(parser.evidence, Ended(exit_code=exit_code, **ended))  # type: ignore[arg-type]


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.raw")), ids=lambda path: path.stem)
def test_transcripts(path: Path) -> None:
    failed = {
        "civitdl-401": (0, Cause.AUTH_REQUIRED),
        "civitdl-404": (0, Cause.NOT_FOUND),
        "civitdl-drop": (0, Cause.NETWORK),
        "wget-404": (8, Cause.NOT_FOUND),
    }
    exit_code, cause = failed.get(path.stem, (0, None))
    outcome = verdict(path.read_bytes(), exit_code)
    assert (outcome.installed, outcome.cause) == (cause is None, cause)


def test_every_cause_has_a_hint() -> None:
    assert set(HINTS) == set(Cause)


FAILURES = [
    (Cause.DNS, "HTTPSConnectionPool(host='civitai.com', port=443): Max retries exceeded with url: /api (Caused by "
     "NameResolutionError(\"Failed to resolve 'civitai.com' ([Errno -3] Temporary failure in name resolution)\"))"),
    (Cause.TLS, "HTTPSConnectionPool(host='civitai.com', port=443): Max retries exceeded (Caused by "
     "SSLError(SSLCertVerificationError(1, '[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed')))"),
    (Cause.NETWORK, "HTTPSConnectionPool(host='civitai.com', port=443): Max retries exceeded (Caused by "
     "NewConnectionError('Failed to establish a new connection: [Errno 111] Connection refused'))"),
    (Cause.NETWORK, "('Connection aborted.', RemoteDisconnected('Remote end closed connection without response'))"),
    (Cause.DISK_FULL, "[Errno 28] No space left on device: '/workspace/x.safetensors'"),
    (Cause.PERMISSION, "[Errno 13] Permission denied: '/workspace/models'"),
    (Cause.PERMISSION, "[Errno 30] Read-only file system: '/workspace/models'"),
    (Cause.SERVER_ERROR, "APIException (API Status Code 502): Downloading model from CivitAI failed"),
    (Cause.RATE_LIMITED, "APIException (API Status Code 429): Downloading model from CivitAI failed"),
    (Cause.FORBIDDEN, "APIException (API Status Code 403): Downloading model from CivitAI failed for model id, 404"),
    (Cause.SERVER_ERROR, "UnexpectedException: Unable to parse metadata from CivitAI (incorrect format)"),
    (Cause.UNKNOWN, "UnexpectedException: something new"),
]  # fmt: skip


@pytest.mark.parametrize(("cause", "words"), FAILURES)
@pytest.mark.parametrize("started", [True, False])
def test_failures_of_civitdl(cause: Cause, words: str, started: bool) -> None:
    begin = STARTED.format("A", 1, 2) if started else ""
    output = begin + block(words) + RETRYING + begin + block(words) + GAVE_UP
    outcome = verdict(output)
    assert (outcome.installed, outcome.cause) == (False, cause)
    assert outcome.error is not None
    assert words[:40] in outcome.error
    assert outcome.hint == HINTS[cause]


EXITS = [
    (Cause.NOT_FOUND, 8, "2026-11-23 12:35:04 ERROR 404: Not Found."),
    (Cause.AUTH_REQUIRED, 6, "Username/Password Authentication Failed."),
    (Cause.FORBIDDEN, 8, "2026-11-23 12:35:04 ERROR 403: Forbidden."),
    (Cause.SERVER_ERROR, 8, "2026-11-23 12:35:04 ERROR 503: Service Unavailable."),
    (Cause.DNS, 4, "wget: unable to resolve host address 'nowhere.example'"),
    (Cause.NETWORK, 4, "Connecting to a (a)|1.2.3.4|:443... failed: Connection refused."),
    (Cause.TLS, 5, "ERROR: cannot verify a.example's certificate, issued by 'CN=x':"),
    (Cause.PERMISSION, 3, "x.bin: Permission denied"),
    (Cause.DISK_FULL, 3, "Cannot write to 'x.bin' (No space left on device)."),
    (Cause.NOT_FOUND, 22, "curl: (22) The requested URL returned error: 404"),
    (Cause.AUTH_REQUIRED, 22, "curl: (22) The requested URL returned error: 401"),
    (Cause.RATE_LIMITED, 22, "curl: (22) The requested URL returned error: 429"),
    (Cause.DNS, 6, "curl: (6) Could not resolve host: nowhere.example"),
    (Cause.NETWORK, 7, "curl: (7) Failed to connect to 127.0.0.1 port 1 after 0 ms: Couldn't connect to server"),
    (Cause.NETWORK, 18, "curl: (18) transfer closed with 100 bytes remaining to read"),
    (Cause.TLS, 60, "curl: (60) SSL certificate problem: self-signed certificate in certificate chain"),
    (Cause.PERMISSION, 23, "curl: (23) Failure writing output to destination"),
    (Cause.NOT_FOUND, 3, "12/01 [ERROR] CUID#7 - Download aborted. errorCode=3 Resource not found"),
    (Cause.TOOL_MISSING, 127, "bash: line 1: civitdl: command not found"),
    (Cause.TOOL_MISSING, 1, "ModuleNotFoundError: No module named 'civitdl'"),
    (Cause.AUTH_REQUIRED, 128, "fatal: could not read Username for 'https://github.com': No such device or address"),
    (Cause.NOT_FOUND, 128, "fatal: repository 'https://github.com/x/y/' not found"),
    (Cause.AUTH_REQUIRED, 1, "requests.exceptions.HTTPError: 401 Client Error: Unauthorized for url: https://x"),
    (Cause.KILLED, 137, ""),
    (Cause.KILLED, 143, "working"),
    (Cause.KILLED, 137, "Killed"),
    (Cause.UNKNOWN, 1, "oh no"),
    (Cause.UNKNOWN, 3, ""),
]


@pytest.mark.parametrize(("cause", "exit_code", "words"), EXITS)
def test_failures_by_exit_status(cause: Cause, exit_code: int, words: str) -> None:
    outcome = verdict(f"some line\n{words}\n", exit_code)
    assert (outcome.installed, outcome.cause, outcome.exit_code) == (False, cause, exit_code)
    assert words in (outcome.error or "") or cause is Cause.KILLED


@pytest.mark.parametrize(
    ("ended", "cause"),
    [
        ({"exit_code": 143, "timed_out": True}, Cause.TIMEOUT),
        ({"exit_code": None, "killed": True}, Cause.KILLED),
        ({"exit_code": None, "instance_lost": True}, Cause.INSTANCE_LOST),
        ({"exit_code": None, "disk_full": True}, Cause.DISK_FULL),
        ({"exit_code": 1, "disk_full": True}, Cause.DISK_FULL),
        ({"exit_code": None, "tool_missing": "bash"}, Cause.TOOL_MISSING),
        ({"exit_code": None, "refused": "cannot write below /x"}, Cause.PERMISSION),
    ],
)
def test_how_the_instance_says_it_ended(ended: dict[str, object], cause: Cause) -> None:
    parser = ProgressParser()
    assert judge(parser.evidence, Ended(**ended)).cause is cause  # type: ignore[arg-type]


def test_success_needs_evidence() -> None:
    whole = STARTED.format("A", 1, 2) + COMPLETED.format("A", 1, 2)
    assert verdict(whole).installed
    assert verdict("").installed
    assert verdict("Cloning into 'x'...\n").installed
    assert verdict(STARTED.format("A", 1, 2)).cause is Cause.NO_SUCCESS_MARK
    assert verdict(whole + STARTED.format("B", 3, 4)).cause is Cause.NO_SUCCESS_MARK
    assert verdict(STARTED.format("A", 1, 2) + COMPLETED.format("B", 3, 4)).cause is Cause.NO_SUCCESS_MARK
    assert verdict(whole, 1).cause is Cause.UNKNOWN
    assert verdict(STARTED.format("A", 1, 2), 137).cause is Cause.KILLED


def test_a_retry_heals_and_a_namesake_does_not() -> None:
    failing = STARTED.format("A", 1, 2) + block("('Connection broken: x')")
    assert verdict(failing + RETRYING + STARTED.format("A", 1, 2) + COMPLETED.format("A", 1, 2)).installed
    given_up = failing + GAVE_UP
    assert verdict(given_up + STARTED.format("A", 1, 2) + COMPLETED.format("A", 1, 2)).installed
    namesake = STARTED.format("A", 7, 8) + COMPLETED.format("A", 7, 8)
    assert verdict(given_up + namesake).cause is Cause.NETWORK
    assert verdict(namesake + given_up).cause is Cause.NETWORK
    metadata = block("APIException (API Status Code 404): Downloading metadata from CivitAI failed")
    assert verdict(metadata + RETRYING + metadata + GAVE_UP + namesake).cause is Cause.NOT_FOUND
    assert verdict(metadata + RETRYING + namesake).installed


def test_rules_of_other_tools_are_no_failure() -> None:
    assert verdict("name\n---------\nvalue\n---------\n").installed
