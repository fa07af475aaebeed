"""The verdict, from what the tools said and their exit status: real transcripts, and every cause."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from service.events.causes import CAUSES, Cause, cause_in
from service.events.hints import hint_for
from service.events.parser import ProgressParser
from service.runner.instance.ended import Ended
from service.runner.outcome import ERROR_CHARACTERS_MAX, Outcome, judge
from tests.events.golden import OUTCOMES, TRANSCRIPTS

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


@pytest.mark.parametrize("path", TRANSCRIPTS, ids=lambda path: path.stem)
def test_transcripts(path: Path) -> None:
    expected = OUTCOMES[path.stem]
    outcome = verdict(path.read_bytes(), expected["exit_code"])
    assert (outcome.installed, outcome.cause) == (expected["cause"] is None, expected["cause"])
    assert outcome.exit_code == expected["exit_code"]
    assert (outcome.error is None) == (outcome.hint is None) == outcome.installed


def test_every_cause_has_a_hint() -> None:
    assert set(CAUSES) == set(Cause)
    hints = {row.hint for row in CAUSES.values()}
    assert all(hint.endswith(".") and len(hint) > 20 for hint in hints)
    assert len(hints) == len(CAUSES)


def test_a_retry_helps_by_itself_or_after_somebody_changed_something() -> None:
    assert all((row.transient is None) != (row.by_hand is None) for row in CAUSES.values())


def test_no_http_status_means_two_causes() -> None:
    counted = Counter(status for row in CAUSES.values() for status in row.http_statuses)
    assert counted.most_common(1)[0][1] == 1


POOL = "HTTPSConnectionPool(host='civitai.com', port=443): "
RETRIES = POOL + "Max retries exceeded with url: /api/v1/models/1 (Caused by "
API = "APIException (API Status Code {0}): Downloading model from CivitAI failed for model id, {1}, and version id, 2"
METADATA = (
    'APIException (API Status Code {0}): Downloading metadata from CivitAI for "https://civitai.com/models/{1}" '
    'failed when trying to request metadata from "https://civitai.com/api/v1/models/{1}"'
)
# What civitdl prints between two rules: its own exceptions, those of requests and of the file system.
FAILURES = [
    (Cause.DNS, RETRIES + "NameResolutionError(\"Failed to resolve 'civitai.com' ([Errno -3] Temporary failure in name "
     "resolution)\"))"),
    (Cause.DNS, RETRIES + "NewConnectionError('Failed to establish a new connection: [Errno -2] Name or service not "
     "known'))"),
    (Cause.TLS, RETRIES + "SSLError(SSLCertVerificationError(1, '[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify "
     "failed: certificate has expired (_ssl.c:1006)')))"),
    (Cause.NETWORK, RETRIES + "SSLError(SSLEOFError(8, '[SSL: UNEXPECTED_EOF_WHILE_READING] EOF occurred in violation "
     "of protocol (_ssl.c:1006)')))"),
    (Cause.NETWORK, RETRIES + "NewConnectionError('Failed to establish a new connection: [Errno 111] Connection "
     "refused'))"),
    (Cause.NETWORK, RETRIES + "ProxyError('Unable to connect to proxy', OSError('Tunnel connection failed: 403 "
     "Forbidden')))"),
    (Cause.NETWORK, POOL + "Read timed out. (read timeout=10)"),
    (Cause.NETWORK, "('Connection aborted.', RemoteDisconnected('Remote end closed connection without response'))"),
    (Cause.NETWORK, "('Connection aborted.', ConnectionResetError(104, 'Connection reset by peer'))"),
    (Cause.NETWORK, "('Connection broken: IncompleteRead(404 bytes read, 403 more expected)', IncompleteRead())"),
    (Cause.DISK_FULL, "[Errno 28] No space left on device: '/workspace/x.safetensors'"),
    (Cause.DISK_FULL, "[Errno 122] Disk quota exceeded: '/workspace/x.safetensors'"),
    (Cause.PERMISSION, "[Errno 13] Permission denied: '/workspace/models'"),
    (Cause.PERMISSION, "[Errno 30] Read-only file system: '/workspace/models'"),
    (Cause.PERMISSION, "[Errno 2] No such file or directory: '/workspace/models/x'"),
    (Cause.PERMISSION, "[Errno 20] Not a directory: '/workspace/models/x'"),
    (Cause.SERVER_ERROR, API.format(500, 404)),
    (Cause.SERVER_ERROR, METADATA.format(503, 429)),
    (Cause.SERVER_ERROR, "UnexpectedException (Unexpected Error): Unable to parse metadata from CivitAI (incorrect "
     "format provided by Civitai).; CivitAI might be under maintainence."),
    (Cause.RATE_LIMITED, API.format(429, 500)),
    (Cause.RATE_LIMITED, METADATA.format(429, 401)),
    (Cause.FORBIDDEN, API.format(403, 404)),
    (Cause.FORBIDDEN, METADATA.format(403, 401)),
    (Cause.AUTH_REQUIRED, METADATA.format(401, 404)),
    (Cause.AUTH_REQUIRED, "InputException (Bad Inputs): Unable to download this model as it requires a valid API Key."),
    (Cause.NOT_FOUND, API.format(404, 500)),
    (Cause.NOT_FOUND, METADATA.format(404, 500)),
    (Cause.NOT_FOUND, "ResourcesException (Resources Error): Version id, 9, does not exist for model id, 1"),
    (Cause.NOT_FOUND, "ResourcesException (Resources Error): No version metadata was found from model id, 500"),
    (Cause.UNKNOWN, "UnexpectedException (Unexpected Error): something new"),
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
    assert outcome.hint == hint_for(cause, outcome.error)


ARIA2 = "11/23 12:35:12 [NOTICE] Downloading 1 item(s)\nException: [AbstractCommand.cc:351] errorCode={0} "
# The words of wget, curl, aria2c, bash, sh, git, pip, Python's urllib and requests, and the exit status beside them.
EXITS = [
    (Cause.NOT_FOUND, 8, "2026-11-23 12:35:04 ERROR 404: Not Found."),
    (Cause.NOT_FOUND, 8, "2026-11-23 12:35:04 ERROR 410: Gone."),
    (Cause.AUTH_REQUIRED, 6, "Username/Password Authentication Failed."),
    (Cause.AUTH_REQUIRED, 6, "HTTP request sent, awaiting response... 401 Unauthorized"),
    (Cause.FORBIDDEN, 8, "2026-11-23 12:35:04 ERROR 403: Forbidden."),
    (Cause.RATE_LIMITED, 8, "2026-11-23 12:35:04 ERROR 429: Too Many Requests."),
    (Cause.SERVER_ERROR, 8, "2026-11-23 12:35:04 ERROR 503: Service Unavailable."),
    (Cause.DNS, 4, "wget: unable to resolve host address 'nowhere.example'"),
    (Cause.NETWORK, 4, "Connecting to a (a)|1.2.3.4|:443... failed: Connection refused."),
    (Cause.NETWORK, 4, "--2026-11-23 18:42:25--  https://a.example/404\nGiving up."),
    (Cause.NETWORK, 4, "2026-11-23 12:35:04 (9 KB/s) - Read error at byte 404 (Connection timed out).Giving up."),
    (Cause.TLS, 5, "ERROR: cannot verify a.example's certificate, issued by 'CN=x':"),
    (Cause.TLS, 4, "Unable to establish SSL connection."),
    (Cause.PERMISSION, 3, "x.bin: Permission denied"),
    (Cause.PERMISSION, 1, "/workspace/nowhere/x.bin: No such file or directory"),
    (Cause.PERMISSION, 3, "Cannot write to 'x.bin' (Success)."),
    (Cause.DISK_FULL, 3, "Cannot write to 'x.bin' (No space left on device)."),
    (Cause.NOT_FOUND, 22, "curl: (22) The requested URL returned error: 404"),
    (Cause.AUTH_REQUIRED, 22, "curl: (22) The requested URL returned error: 401"),
    (Cause.FORBIDDEN, 22, "curl: (22) The requested URL returned error: 403 Forbidden"),
    (Cause.RATE_LIMITED, 22, "curl: (22) The requested URL returned error: 429"),
    (Cause.SERVER_ERROR, 22, "curl: (22) The requested URL returned error: 502"),
    (Cause.DNS, 6, "curl: (6) Could not resolve host: nowhere.example"),
    (Cause.NETWORK, 7, "curl: (7) Failed to connect to 127.0.0.1 port 1 after 0 ms: Couldn't connect to server"),
    (Cause.NETWORK, 18, "curl: (18) transfer closed with 100 bytes remaining to read"),
    (Cause.NETWORK, 28, "curl: (28) Operation timed out after 1000 milliseconds with 0 bytes received"),
    (Cause.NETWORK, 56, "curl: (56) some words of a later version"),
    (Cause.TLS, 60, "curl: (60) SSL certificate problem: self-signed certificate in certificate chain"),
    (Cause.TLS, 35, "curl: (35) OpenSSL/3.0.19: error:0A00010B:SSL routines::wrong version number"),
    (Cause.DISK_FULL, 23, "curl: (23) Failure writing output to destination"),
    (Cause.PERMISSION, 23, "Warning: Failed to open the file /x/y: Permission denied"),
    (Cause.UNKNOWN, 1, "curl: (1) Protocol \"htp\" not supported or disabled in libcurl"),
    (Cause.NOT_FOUND, 3, ARIA2.format(3) + "Resource not found"),
    (Cause.AUTH_REQUIRED, 24, ARIA2.format(24) + "Authorization failed."),
    (Cause.FORBIDDEN, 22, ARIA2.format(22) + "The response status is not successful. status=403"),
    (Cause.RATE_LIMITED, 22, ARIA2.format(22) + "The response status is not successful. status=429"),
    (Cause.SERVER_ERROR, 22, ARIA2.format(22) + "The response status is not successful. status=500"),
    (Cause.DNS, 19, ARIA2.format(19) + "CUID#7 - Name resolution for a failed:Domain name not found"),
    (Cause.TLS, 1, ARIA2.format(1) + "SSL/TLS handshake failure: An unexpected TLS packet was received."),
    (Cause.NETWORK, 1, ARIA2.format(1) + "Failed to establish connection, cause: Connection refused"),
    (Cause.NETWORK, 1, ARIA2.format(1) + "Got EOF from the server."),
    (Cause.PERMISSION, 18, ARIA2.format(18) + "Failed to make the directory /x, cause: No such file or directory"),
    (Cause.DISK_FULL, 9, ARIA2.format(9) + "Not enough disk space"),
    (Cause.SERVER_ERROR, 29, ARIA2.format(29) + "words"),
    (Cause.VERIFICATION_FAILED, 32, "11/23 18:45:01 [ERROR] Checksum error detected. file=/x"),
    (Cause.TOOL_MISSING, 127, "bash: line 1: civitdl: command not found"),
    (Cause.TOOL_MISSING, 127, "sh: 1: civitdl: not found"),
    (Cause.TOOL_MISSING, 127, "bash: line 1: ./get.sh: No such file or directory"),
    (Cause.TOOL_MISSING, 127, ""),
    (Cause.TOOL_MISSING, 1, "ModuleNotFoundError: No module named 'civitdl'"),
    (Cause.AUTH_REQUIRED, 128, "fatal: could not read Username for 'https://github.com': No such device or address"),
    (Cause.NOT_FOUND, 128, "fatal: repository 'https://github.com/x/y/' not found"),
    (Cause.DNS, 128, "fatal: unable to access 'https://github.com/x/': Could not resolve host: github.com"),
    (Cause.NETWORK, 128, "fatal: early EOF"),
    (Cause.DNS, 1, "WARNING: Retrying after connection broken by 'NewConnectionError(\"Name or service not known\")'\n"
     "ERROR: No matching distribution found for civitdl"),
    (Cause.AUTH_REQUIRED, 1, "requests.exceptions.HTTPError: 401 Client Error: Unauthorized for url: https://x"),
    (Cause.RATE_LIMITED, 1, "requests.exceptions.HTTPError: 429 Client Error: Too Many Requests for url: https://x"),
    (Cause.NOT_FOUND, 1, "urllib.error.HTTPError: HTTP Error 404: Not Found"),
    (Cause.PERMISSION, 1, "mkdir: cannot create directory '/x': Read-only file system"),
    (Cause.DISK_FULL, 1, "OSError: [Errno 28] No space left on device"),
    (Cause.DISK_ERROR, 1, "OSError: [Errno 5] Input/output error"),
    (Cause.DISK_ERROR, 1, "cp: error writing '/workspace/m.safetensors': Input/output error"),
    (Cause.DISK_ERROR, 1, "ls: cannot access '/workspace': Stale file handle"),
    (Cause.BUSY, 100, "E: Could not get lock /var/lib/dpkg/lock-frontend. It is held by process 512 (apt)"),
    (Cause.BUSY, 100, "E: Unable to acquire the dpkg frontend lock (/var/lib/dpkg/lock-frontend), is another process "
     "using it?"),
    (Cause.BUSY, 1, "bash: ./get: Text file busy"),
    (Cause.VERIFICATION_FAILED, 1, "sha256sum: WARNING: 1 computed checksum did NOT match"),
    (Cause.VERIFICATION_FAILED, 22, "curl: (22) The requested URL returned error: 416"),
    (Cause.KILLED, 137, ""),
    (Cause.KILLED, 143, "working"),
    (Cause.KILLED, 137, "Killed"),
    (Cause.UNKNOWN, 1, "oh no"),
    (Cause.UNKNOWN, 3, ""),
]  # fmt: skip


# Where the last line is not what names the cause.
UNSAID = (Cause.KILLED, Cause.DNS)


@pytest.mark.parametrize(("cause", "exit_code", "words"), EXITS)
def test_failures_by_exit_status(cause: Cause, exit_code: int, words: str) -> None:
    outcome = verdict(f"some line\n{words}\n", exit_code)
    assert (outcome.installed, outcome.cause, outcome.exit_code) == (False, cause, exit_code)
    assert words.splitlines()[-1:] == [] or words.splitlines()[-1] in (outcome.error or "") or cause in UNSAID


@pytest.mark.parametrize(
    ("ended", "cause"),
    [
        ({"exit_code": 143, "timed_out": True}, Cause.TIMEOUT),
        ({"exit_code": None}, Cause.KILLED),
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


def test_rules_of_other_tools_are_not_failures() -> None:
    assert verdict("name\n---------\nvalue\n---------\n").installed


def test_a_rule_closes_what_another_opened_however_much_stands_between() -> None:
    assert verdict(block("\n".join(f"[Errno 13] Permission denied {n}" for n in range(500)))).cause is Cause.PERMISSION


def test_one_model_of_a_batch_fails() -> None:
    whole = [STARTED.format(name, n, n) + COMPLETED.format(name, n, n) for n, name in enumerate("ABC")]
    lost = STARTED.format("X", 8, 9) + block(API.format(404, 8)) + RETRYING
    lost += STARTED.format("X", 8, 9) + block(API.format(404, 8)) + GAVE_UP
    for at in range(len(whole) + 1):
        outcome = verdict("".join([*whole[:at], lost, *whole[at:]]))
        assert (outcome.installed, outcome.cause) == (False, Cause.NOT_FOUND)
        assert (outcome.error or "").startswith('civitdl: "X": ')


def test_the_cause_is_that_of_the_first_failure() -> None:
    failures = [
        STARTED.format(n, n, n) + block(API.format(code, n)) + GAVE_UP for n, code in enumerate((403, 404, 500))
    ]
    assert verdict("".join(failures)).cause is Cause.FORBIDDEN
    assert verdict("".join(reversed(failures))).cause is Cause.SERVER_ERROR


def test_the_exit_status_of_a_wrapper_counts_as_well_as_what_civitdl_said() -> None:
    whole = STARTED.format("A", 1, 2) + COMPLETED.format("A", 1, 2)
    outcome = verdict(whole + "mv: cannot stat 'x': No such file or directory\n", 1)
    assert (outcome.installed, outcome.cause) == (False, Cause.PERMISSION)


def test_a_silent_tool_is_judged_by_its_exit_status() -> None:
    assert verdict("", 0).installed
    assert verdict("", 1).cause is Cause.UNKNOWN
    assert verdict("some ERROR 404: Not Found. that a script went on from\n", 0).installed


def test_an_error_is_bounded() -> None:
    outcome = verdict("curl: (6) Could not resolve host: " + "x" * 10_000 + "\n", 6)
    assert len(outcome.error or "") <= ERROR_CHARACTERS_MAX


@pytest.mark.parametrize(
    "words", ["model 404 of 500", "401 files", "version 4.0.4", "downloaded 429 MiB", "", "code review", "[Errno 17] x"]
)
def test_numbers_and_words_that_name_no_cause(words: str) -> None:
    assert cause_in(words) is None


def test_the_tables_hold_every_cause_that_the_output_can_name() -> None:
    elsewhere = {
        Cause.TIMEOUT,
        Cause.INSTANCE_LOST,
        Cause.INSTANCE_SILENT,
        Cause.SSH_AUTH,
        Cause.SSH_UNREACHABLE,
        Cause.HOST_KEY_CHANGED,
        Cause.DEPENDENCY_FAILED,
        Cause.NO_SUCCESS_MARK,
        Cause.NOTHING_INSTALLED,
        Cause.NO_SHELL,
        Cause.STALLED,
        Cause.CANCELLED,
    }
    counted = Counter(case[0] for case in (*FAILURES, *EXITS))
    assert {cause for cause in Cause if counted[cause] < 3} == elsewhere
