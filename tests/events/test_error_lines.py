"""Lines that look like errors, and lines that only hold the words of one."""

from __future__ import annotations

import random
import time

import pytest

from service.events import error_lines
from service.events.causes import cause_in, sentence_cause
from service.events.error_lines import Kind, kind_of
from service.events.line_kinds import LineKinds

ERRORS = (
    "curl: (6) Could not resolve host: nowhere.example",
    "wget: unable to resolve host address ‘nowhere.example’",
    "fatal: repository 'https://git.example/x/' not found",
    "2026-11-23 12:35:04 ERROR 404: Not Found.",
    "HTTP request sent, awaiting response... 401 Unauthorized",
    "Connecting to files.example (files.example)|192.0.2.1|:443... failed: Connection refused.",
    "2026-11-23 12:35:04 (9 KB/s) - Connection closed at byte 404. Retrying.",
    "requests.exceptions.ReadTimeout: HTTPConnectionPool(host='x', port=80): Read timed out.",
    "gdown.exceptions.FileURLRetrievalError: Cannot retrieve the public link of the file.",
    "OSError: [Errno 28] No space left on device",
    "mkdir: cannot create directory '/x': Read-only file system",
    "/workspace/get.sh: line 3: models/new/x: No such file or directory",
    "bash: line 1: TOKEN: unbound variable",
    "E: Could not get lock /var/lib/dpkg/lock-frontend. It is held by process 512 (apt)",
    "Err:1 http://deb.example Temporary failure resolving 'deb.example'",
    "could not find the settings",
    "Failed to retrieve file url:",
    "Killed",
    '{"status":404,"message":"Model not found"}',
    "404 Not Found",
    "Forbidden",
    "11/23 12:35:12 [ERROR] CUID#7 - Download aborted. URI=https://files.example/m",
    "my-tool: error: the following arguments are required: --out",
    "argument-parser: unrecognized option '--foo'",
)
EXPLAINING = (
    "WARNING: Retrying (Retry(total=0)) after connection broken by 'NewConnectionError(…)': /simple/x/",
    "Warning: Failed to open the file /x/y: Permission denied",
    "W: Failed to fetch http://deb.example/InRelease  Temporary failure resolving 'deb.example'",
    "sha256sum: WARNING: 1 computed checksum did NOT match",
)
HARMLESS = (
    "Downloading Forbidden Forest LoRA",
    "Downloading 'No space left for you' LoRA",
    "Saving to: ‘404 Not Found.safetensors’",
    "WARNING: The certificate of ‘files.example’ is not trusted.",
    "/usr/lib/python3/connectionpool.py:1045: InsecureRequestWarning: Unverified HTTPS request is being made. Adding "
    "certificate verification is strongly advised.",
    "########################################",
    "======================================",
    "#### Error handling ####",
    "######################################################################## 100.0%",
    "--no-check-certificate    Don't validate the server's certificate",
    "Usage: wget [-cqS] [--spider] [-O FILE]",
    "hint: use --force to overwrite an error",
    "[notice] A new release of pip is available",
    "More details here: https://curl.se/docs/sslcerts.html",
    "If there are any errors, then see the log file. See '-l' option in help/man page for details.",
    'File "/workspace/get.py", line 9, in error',
    "Hint: set HF_DEBUG=1 as environment variable for full traceback.",
    "To connect to 127.0.0.1 insecurely, use `--no-check-certificate'.",
)
PLAIN = (
    "checksum of what was loaded",
    "the licence was not accepted",
    "The site said: Forbidden Planet is great",
    "Access Denied Style v2 (Forbidden Edition)",
    "Done with errors",
    "Name: No space left on device LoRA",
    "Name: Unknown Forbidden Style",
    "title: cannot be Forbidden",
)


@pytest.mark.parametrize("line", ERRORS)
def test_a_line_that_is_an_error(line: str) -> None:
    assert kind_of(line) is Kind.ERROR


@pytest.mark.parametrize("line", EXPLAINING)
def test_a_warning_that_explains_an_error(line: str) -> None:
    assert kind_of(line) is Kind.EXPLAINS


@pytest.mark.parametrize("line", HARMLESS)
def test_a_harmless_line_with_the_words_of_an_error(line: str) -> None:
    assert kind_of(line) is Kind.HARMLESS


@pytest.mark.parametrize("line", PLAIN)
def test_a_plain_sentence(line: str) -> None:
    assert kind_of(line) is Kind.PLAIN
    assert sentence_cause(line) is None


@pytest.mark.parametrize(
    "line",
    [
        "RuntimeError: failed to load 'certificate_style.safetensors'",
        "ValueError: checksum of /workspace/forbidden.pth is wrong",
        "my-tool: cannot open the model 'Forbidden Forest'",
        "ERROR: nothing at https://files.example/error/503/timeout",
        'KeyError: "Access Denied Style.ckpt"',
    ],
)
def test_the_name_of_a_file_names_no_cause(line: str) -> None:
    assert cause_in(line) is None


def kinds_of(text: str) -> list[Kind]:
    kinds = LineKinds()
    return [kinds.kind(line.strip()) for line in text.splitlines()]


def test_a_help_text_ends_with_the_next_error() -> None:
    text = (
        "Usage: x [-a]\nRetrieve files via the network\nthe connection timeout of a file\nx: cannot open y\nas before"
    )
    harmless = [Kind.HARMLESS] * 3
    assert kinds_of(text) == [*harmless, Kind.ERROR, Kind.PLAIN]


def test_a_traceback_ends_with_its_exception_whatever_that_is_called() -> None:
    text = (
        "Traceback (most recent call last):\n  File 'x', line 1\n    open_the(certificate)\n__main__.Oops: nope\nafter"
    )
    assert kinds_of(text) == [Kind.HARMLESS] * 3 + [Kind.ERROR, Kind.PLAIN]


def test_a_warning_that_ends_with_a_colon_goes_on() -> None:
    text = (
        "WARNING: cannot verify x's certificate, issued by ‘CN=y’:\n  Unable to locally verify the issuer's authority."
    )
    assert kinds_of(text) == [Kind.HARMLESS, Kind.HARMLESS]


PIECES = ("a", "a.", "/a", "a: ", "'a", "[", "1 ", "-", "Aa.", "line 1: ", "\"'", "http://", "error ", "Error", "not ")


@pytest.mark.parametrize("piece", PIECES)
def test_no_line_costs_more_than_its_length(piece: str) -> None:
    """Four times the length may cost six times as much, and not sixteen times."""

    def seconds(characters: int) -> float:
        text = (piece * characters)[:characters]
        spent = []
        for _ in range(5):
            begin = time.thread_time()
            kind_of(text)
            kind_of(f"{text} failed: no such thing")
            cause_in(text)
            sentence_cause(text)
            spent.append(time.thread_time() - begin)
        return min(spent)

    assert seconds(2_000) < max(0.02, 8 * seconds(500))


def lines_of_their_words() -> list[str]:
    chance = random.Random("kinds")
    words = [*error_lines._OF_ERRORS, *error_lines._SYSTEM_ENDS, *error_lines._PHRASES_ALONE]
    words += ["404 ", "503: ", "[errno 5] ", "line 5: 77 killed", "giving up.", "...", ".", ")", "!", ": ", "usage: "]
    words += ['{"detail":', "http/1.1 404", "<title>", "errorcode=5", "response... 404", "message:", "foo.Bar: "]
    words += ["Traceback (most recent call last):", "Warning: ", "-w: ", "uncaught x.Error: ", "Usage ", "E: ", "❌ "]
    return [
        "".join(chance.choice(words) + chance.choice(["", " ", "a"]) for _ in range(chance.randrange(1, 5))).strip()
        for _ in range(20_000)
    ]


def test_an_ordinary_line_is_plain_or_harmless_and_changes_nothing_for_the_next() -> None:
    ordinary = 0
    for line in lines_of_their_words():
        kinds = LineKinds()
        if line and kinds.is_ordinary(line):
            ordinary += 1
            assert kinds.kind(line) is kind_of(line), line
            assert kind_of(line) in (Kind.PLAIN, Kind.HARMLESS), line
            assert vars(kinds) == vars(LineKinds()), line
    assert ordinary > 1_000


def test_the_looks_before_a_pattern_hide_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is a necessary condition: with every pattern asked, a line is of the same kind."""
    lines = lines_of_their_words()
    found = [kind_of.__wrapped__(line) for line in lines]
    assert {Kind.ERROR, Kind.PLAIN, Kind.HARMLESS} <= set(found)
    for name in ("_may_be_by_the_system", "_may_be_by_http", "_may_give_a_reason"):
        monkeypatch.setattr(error_lines, name, lambda _: True)
    for line, kind in zip(lines, found, strict=True):
        assert kind_of.__wrapped__(line) is kind, line
