"""Cause, error and hint: what exit statuses mean, mixtures of lines, and hints that fit."""

from __future__ import annotations

import pytest

from service.events.causes import Cause
from service.events.diagnosis import Diagnosis, diagnose
from service.events.parser import ProgressParser
from service.events.tools import TOOLS, exit_status


def diagnosed(text: str, exit_code: int = 1, **known: object) -> Diagnosis:
    parser = ProgressParser()
    parser.feed(text.encode())
    parser.close(exit_code)
    return diagnose(parser.evidence, exit_code, **known)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("tool", "statuses"), [("wget", range(1, 9)), ("aria2c", {*range(1, 33)} - {31}), ("hf", range(1, 3))]
)
def test_the_tables_of_exit_statuses_are_whole(tool: str, statuses: range) -> None:
    table = next(kind.exit_statuses for kind in TOOLS if kind.name == tool)
    assert set(table) == set(statuses)


def test_every_meaning_completes_a_sentence() -> None:
    meanings = [status.meaning for tool in TOOLS for status in tool.exit_statuses.values()]
    assert len(meanings) > 90
    assert all(len(meaning) > 10 and not meaning.endswith(".") for meaning in meanings)


@pytest.mark.parametrize(
    ("tool", "exit_code", "cause"),
    [
        *(("wget", code, cause) for code, cause in ((3, Cause.PERMISSION), (4, Cause.NETWORK), (5, Cause.TLS))),
        *(("wget", code, cause) for code, cause in ((6, Cause.AUTH_REQUIRED), (8, Cause.NOT_FOUND))),
        *(("curl", code, Cause.NETWORK) for code in (7, 16, 18, 28, 52, 55, 56, 92)),
        *(("curl", code, Cause.TLS) for code in (35, 51, 58, 60, 77)),
        *(("curl", code, cause) for code, cause in ((6, Cause.DNS), (22, Cause.NOT_FOUND), (23, Cause.PERMISSION))),
        *(("aria2c", code, Cause.NETWORK) for code in (1, 2, 5, 6)),
        *(("aria2c", code, cause) for code, cause in ((3, Cause.NOT_FOUND), (9, Cause.DISK_FULL), (19, Cause.DNS))),
        *(("aria2c", code, cause) for code, cause in ((22, Cause.FORBIDDEN), (24, Cause.AUTH_REQUIRED))),
        *(("aria2c", code, cause) for code, cause in ((29, Cause.SERVER_ERROR), (8, Cause.VERIFICATION_FAILED))),
        ("wget", 1, Cause.UNKNOWN),
        (None, 4, Cause.UNKNOWN),
        (None, 127, Cause.TOOL_MISSING),
        *((None, code, Cause.KILLED) for code in (130, 134, 135, 137, 139, 143)),
    ],
)
def test_an_exit_status_speaks_for_a_quiet_tool(tool: str | None, exit_code: int, cause: Cause) -> None:
    found = diagnosed("", exit_code, tool=tool)
    assert found.cause is cause
    status = exit_status(tool, exit_code)
    assert status is None or found.said == status.meaning
    assert "last lines" not in found.hint


CURL_23 = "curl: (23) Failure writing output to destination\n"
OPEN = "Warning: Failed to open the file"
FOLDER = "/a/rather/long/path/of/seventy/characters/" + "x" * 28
CARD = "/root/.local/state/resource-installer/9e3e3422-c68a/1-1/card: line 1: "


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            f"{OPEN} \nWarning: {FOLDER}\nWarning: y/m.pth: No such file or directory\n",
            f"{OPEN} {FOLDER}y/m.pth: No such file or directory",
        ),
        (f"{OPEN} /a b/m: No such file or \nWarning: directory\n", f"{OPEN} /a b/m: No such file or directory"),
        (f"{OPEN} /a/m: No such file or directory\n", f"{OPEN} /a/m: No such file or directory"),
    ],
)
def test_a_warning_that_curl_breaks_into_lines_is_one(text: str, said: str) -> None:
    found = diagnosed(text + CURL_23, 23, tool="curl")
    assert (found.cause, found.said) == (Cause.PERMISSION, said)
    assert "mkdir -p" in found.hint


def test_other_warnings_of_curl_explain_nothing() -> None:
    found = diagnosed(f"Warning: No such file or directory\n{CURL_23}", 23, tool="curl")
    assert (found.cause, found.said) == (Cause.DISK_FULL, CURL_23.strip())


def test_the_path_of_the_card_is_no_folder_of_the_user() -> None:
    found = diagnosed(f"{CARD}cd: /w/models/new: No such file or directory\n")
    assert found.said == "card: line 1: cd: /w/models/new: No such file or directory"
    assert "mkdir -p" in found.hint
    assert "HOME" in diagnosed("mkdir: cannot create directory '/root/.local/state': Permission denied\n").hint


@pytest.mark.parametrize(("tool", "exit_code"), [("curl", 23), ("wget", 3)])
def test_a_quiet_tool_that_cannot_write_is_told_about_the_folder(tool: str, exit_code: int) -> None:
    assert "mkdir -p" in diagnosed("", exit_code, tool=tool).hint


def test_words_stand_above_the_exit_status() -> None:
    assert diagnosed("2026-11-23 12:35:04 ERROR 503: Service Unavailable.", 8, tool="wget").cause is Cause.SERVER_ERROR


WGET = (
    "--2026-11-23 12:35:0{n}--  {more}https://files.example/{file}\nHTTP request sent, awaiting response... {answer}\n"
)
CUT = "2026-11-23 12:35:05 (9 MB/s) - Connection closed at byte 500000. Retrying.\n\n"
REFUSED = "2026-11-23 12:35:06 ERROR 403: Forbidden.\n"


def test_a_refusal_after_half_of_the_file_is_an_address_that_expired() -> None:
    begin = WGET.format(n=1, more="", file="x", answer="302 Found") + WGET.format(
        n=2, more="", file="y", answer="200 OK"
    )
    again = WGET.format(n=6, more="(try: 2)  ", file="y", answer="403 Forbidden")
    found = diagnosed(begin + CUT + again + REFUSED, 8)
    assert (found.cause, "expired" in found.hint) == (Cause.NETWORK, True)
    other = WGET.format(n=6, more="", file="z", answer="403 Forbidden")
    assert diagnosed(begin + CUT + other + REFUSED, 8).cause is Cause.FORBIDDEN
    assert diagnosed(other + REFUSED, 8).cause is Cause.FORBIDDEN
    assert diagnosed("", 8, tool="wget", has_begun=True).cause is Cause.NETWORK
    assert diagnosed("", 8, tool="wget").cause is Cause.NOT_FOUND


def test_a_later_command_that_misses_a_file_does_not_hide_why_it_is_missing() -> None:
    lost = "curl: (22) The requested URL returned error: 404\nmv: cannot stat 'x': No such file or directory\n"
    assert diagnosed(lost).cause is Cause.NOT_FOUND
    assert diagnosed("mv: cannot stat 'x': No such file or directory\n").cause is Cause.PERMISSION


def test_what_a_tool_concludes_counts_where_nothing_else_does() -> None:
    concluded = "ERROR: No matching distribution found for x\n"
    warned = "WARNING: Retrying (…) after connection broken by 'NewConnectionError(\"Name or service not known\")'\n"
    assert diagnosed(concluded).cause is Cause.NOT_FOUND
    assert diagnosed(warned + concluded).cause is Cause.DNS


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("the licence was not accepted\n" + "#" * 60 + "\n", "the licence was not accepted"),
        ("no key was given\n\r 45%|####5     | 3.65M/8.12M [00:03<00:04, 60.9MiB/s]\n", "no key was given"),
        ("Downloading Forbidden Forest LoRA\nthe settings do not fit\n", "the settings do not fit"),
        ("wget: unrecognized option '--x'\nBusyBox v1.35.0 multi-call binary.\n\nUsage: wget [-c]\n\n"
         "  --no-check-certificate  Don't validate the server's certificate\n  -T SEC  Network timeout\n",
         "wget: unrecognized option '--x'"),
        ("Downloading x\n", None),
        ("", None),
    ],
)  # fmt: skip
def test_the_error_is_the_line_that_explains(text: str, said: str | None) -> None:
    found = diagnosed(text)
    assert (found.cause, found.said) == (Cause.UNKNOWN, said)


@pytest.mark.parametrize(
    ("text", "exit_code", "hint"),
    [
        ("bash: line 1: cd: models/new: No such file or directory", 1, "mkdir -p"),
        ("wget: can't open 'models/new/x': No such file or directory", 1, "mkdir -p"),
        ("FileNotFoundError: [Errno 2] No such file or directory: 'models/new/x'", 1, "mkdir -p"),
        ("mkdir: cannot create directory '/x': Permission denied", 1, "rights"),
        ("touch: cannot touch '/x': Read-only file system", 1, "read-only"),
        ("--2026-11-23 12:35:04--  https://civitai.com/api/download/models/1\n"
         "HTTP request sent, awaiting response... 401 Unauthorized", 6, "INSTALLER_CIVITAI_API_KEY"),
        ("httpx.HTTPStatusError: Client error '401 Unauthorized' for url 'https://huggingface.co/o/n/x'", 1,
         "INSTALLER_HF_TOKEN"),
        ("curl: (22) The requested URL returned error: 401", 22, "the key of an account"),
        ("curl: (60) SSL certificate problem: certificate is not yet valid", 60, "clock"),
        ("curl: (22) The requested URL returned error: 416", 22, "whole already"),
        ("<Message>Only one auth mechanism allowed</Message>\ncurl: (22) The requested URL returned error: 400", 22,
         "Authorization header"),
        ("ModuleNotFoundError: No module named 'requests'", 1, "pip"),
    ],
)  # fmt: skip
def test_a_hint_fits(text: str, exit_code: int, hint: str) -> None:
    assert hint in diagnosed(text, exit_code).hint


def test_a_hint_knows_the_address_of_a_quiet_tool() -> None:
    found = diagnosed("", 6, tool="wget", address="https://civitai.com/api/download/models/1")
    assert "INSTALLER_CIVITAI_API_KEY" in found.hint
