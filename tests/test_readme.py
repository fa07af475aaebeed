"""The README and docs/ compared with the code: their examples, their tables, their lists."""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
import json
import re
from pathlib import Path

import pytest
from pydantic import TypeAdapter

from scripts import doc_tables
from service.config import PREFIX, Settings
from service.events import event_types
from service.events.causes import CAUSES, Cause
from service.events.event_types import Event
from service.library import FrontMatter, parse_card
from service.runner.controls import POSSIBLE
from service.web import socket_events
from service.web.answers import Accepted
from service.web.endpoints import ENDPOINTS
from service.web.requests import InstallRequest
from tests.kit.pages import BLOCK, CODE, ROOT, all_pages, examples, page, prose, rows, section
from tests.kit.running import running, write_card

README, API, CARDS, SETTINGS, USING = (
    page(path) for path in ("README.md", "docs/api.md", "docs/cards.md", "docs/settings.md", "docs/using.md")
)
# Fields of ``job_queued`` that repeat the request, or that the service keeps for itself.
OF_THE_REQUEST = {
    "parallel",
    "bandwidth_limit",
    "max_attempts",
    "verify",
    "reinstall",
    "wait_for_ssh_seconds",
    "removes",
    "place",
    "retry_of",
    "idempotency_key",
    "body_sha256",
}


def event_classes() -> dict[str, type[Event]]:
    known = [kind for kind in vars(event_types).values() if isinstance(kind, type) and issubclass(kind, Event)]
    return {kind.type: kind for kind in known if kind is not Event}


def test_the_table_of_events_is_what_is_sent() -> None:
    told: dict[str, tuple[str, set[str]]] = {}
    name = ""
    for cells in rows(section(API, "Watch it"), "Socket.IO event"):
        name = CODE.findall(cells[0])[0] if cells[0] else name
        fields = {field for code in CODE.findall(cells[2]) for field in code.split(", ")}
        if cells[2].startswith("the same, and"):
            fields |= told["job_failed"][1]
        for kind in CODE.findall(cells[1]):
            assert kind not in told, f"{kind} stands there twice"
            told[kind] = (name, fields)
    classes = event_classes()
    assert set(told) == set(classes)
    for kind, (name, fields) in told.items():
        assert name == socket_events.name_of(kind), kind
        declared = {field.name for field in dataclasses.fields(classes[kind])}
        needed = {"resource", "attempt"} & fields
        extra = OF_THE_REQUEST if kind == "job_queued" else set()
        assert fields - needed | extra == declared | (fields & extra), kind
    of_resources = {kind for kind, (_, fields) in told.items() if {"resource", "attempt"} <= fields}
    assert of_resources == {kind for kind in told if kind.startswith(("stage_", "resource_"))} | {
        "progress",
        "output",
        "verification_started",
        "run_started",
        "run_ended",
        "file_kept",
    }


def test_the_events_of_a_client_are_handled() -> None:
    text = section(API, "Watch it")
    assert set(re.findall(r"\b\w*subscribe_install\b", text)) == {socket_events.SUBSCRIBE, socket_events.UNSUBSCRIBE}
    assert socket_events.SKIPPED in text
    listened = set(re.findall(r"socket\.on\('(resource_\w+)'", text))
    assert listened == {*socket_events.EVENT_NAMES.values(), socket_events.STATUS}


def test_every_path_is_served_and_every_path_is_told() -> None:
    paths = {}
    for operation in ENDPOINTS:
        shape = re.sub(r"\{[^}]*\}", "{}", operation.path)
        paths[operation.method.upper(), shape] = operation
    # The example of a start is run by a test of its own.
    told = {("POST", "/resources/install")}
    text = prose("\n".join(all_pages().values()))
    for code in CODE.findall(text):
        method = ""
        for part in re.split(r",\s*", code):
            words = part.split()
            if len(words) > 1 and words[0] in ("GET", "POST", "PUT", "PATCH", "DELETE"):
                method, part = words[0], words[1]
            if method and part.startswith("/"):
                told.add((method, re.sub(r"\{[^}]*\}", "{}", part.split("?")[0])))
    # "`POST …/pause`, `/resume`": the second goes on where the first ends.
    for line in text.splitlines():
        found = re.findall(r"`(?:(POST) (/\S+)/(\w+)|/(\w+))`", line)
        for (method, base, _, _), (_, _, _, other) in itertools.pairwise(found):
            if method and other:
                told.add((method, f"{re.sub(r'{[^}]*}', '{}', base)}/{other}"))
    assert told <= set(paths), "the pages name paths that are not served"
    assert set(paths) - told <= {("GET", "/metrics"), ("GET", "/openapi.json")}, "paths that no page names"


async def test_the_example_of_a_start_runs(tmp_path: Path) -> None:
    (example,) = examples(API, "curl -X POST http://localhost:5000/resources/install")
    body = json.loads(re.findall(r"-d '(\{.*?\})'", example, re.DOTALL)[0])
    for path in body["resources"]:
        write_card(tmp_path, path)
    async with running(tmp_path) as service:
        # The host of the example is somebody's: the job is accepted, and nobody connects to it.
        await service._worker.stop()
        command, _, shown = example.partition("]}'\n")
        command = f"{command}]}}'".replace("http://localhost:5000", service.url).replace("curl", "curl -sS", 1)
        process = await asyncio.create_subprocess_exec(
            "bash", "-c", command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
        )
        said, errors = await asyncio.wait_for(process.communicate(), 60)
    assert (process.returncode, errors) == (0, b"")
    answer = TypeAdapter(Accepted).validate_json(said)
    # What the page shows, except for the id.
    wanted = json.loads(shown.replace("…", ""))
    assert {**answer, "job_id": ""} == {**wanted, "job_id": ""}


def test_optional_fields_and_their_defaults() -> None:
    told = {CODE.findall(cells[0])[0]: cells[1].strip("`") for cells in rows(section(API, "Start an install"), "field")}
    optional = {name: field for name, field in InstallRequest.model_fields.items() if not field.is_required()}
    assert set(told) == set(optional)
    settings = {name: field.default for name, field in Settings.model_fields.items()}
    for name, shown in told.items():
        default = optional[name].default
        if shown.startswith(PREFIX):
            assert shown.removeprefix(PREFIX).lower() in settings
        elif shown in ("", "none"):
            assert default is None, name
        else:
            assert json.loads(shown) == (default if default is not None else settings[name]), name


def test_every_setting_is_told_once_with_its_default() -> None:
    told: dict[str, str] = {}
    for cells in rows(SETTINGS, "variable"):
        names, defaults = CODE.findall(cells[0]), CODE.findall(cells[1]) or [""]
        assert not set(names) & set(told)
        told |= dict(zip(names, defaults * len(names) if len(defaults) < len(names) else defaults, strict=False))
    # Text that is to be pasted may tell a setting before its row is there.
    known = {PREFIX + name.upper(): field for name, field in Settings.model_fields.items()}
    assert set(told) <= set(known)
    assert set(known) - set(told) <= {"INSTALLER_LOG_FORMAT", "INSTALLER_LOG_LEVEL"}
    for name, shown in told.items():
        default = known[name].default
        if isinstance(default, bool | int | float) and not known[name].is_required():
            assert json.loads(shown) == default, name
        elif isinstance(default, str):
            assert shown == default, name


def test_the_five_settings_that_matter_come_first() -> None:
    first = [CODE.findall(cells[0])[0] for cells in rows(section(SETTINGS, "The five that matter first"), "variable")]
    assert len(first) == 5
    assert first[0] == "INSTALLER_SSH_KEY"


def test_the_table_of_causes_names_each_once() -> None:
    told = [CODE.findall(cells[0])[0] for cells in rows(section(API, "Causes"), "cause")]
    assert told == [cause.value for cause in Cause]


@pytest.mark.parametrize("path", doc_tables.TABLES)
def test_generated_tables_are_up_to_date(path: str) -> None:
    text = page(path)
    assert doc_tables.with_tables(path, text) == text, "run `make tables`"


def test_the_causes_that_are_retried_are_all_named() -> None:
    named = {code for code in CODE.findall(section(USING, "Retries")) if re.fullmatch(r"[a-z_]+", code)}
    assert named == {cause.value for cause in Cause if CAUSES[cause].is_transient}


def test_the_table_of_controls_is_the_one_that_decides() -> None:
    columns = ["queued", "paused in the queue", "running", "paused", "", "completed", "failed"]
    table = re.search(r"^\| \| queued .*?\n\n", section(API, "Control it"), re.DOTALL | re.MULTILINE)
    assert table is not None
    for line in table[0].strip().splitlines()[2:]:
        control, *cells = (cell.strip() for cell in line.strip("|").split("|"))
        for column, cell in zip(columns, cells, strict=True):
            allowed = any(control in controls for standing, controls in POSSIBLE.items() if standing.value == column)
            assert (cell != "409") == allowed, (control, column)


@pytest.mark.parametrize(("text", "tool"), [(CARDS, "civitdl "), (README, "curl ")], ids=["cards", "readme"])
def test_the_card_is_one(text: str, tool: str) -> None:
    (card,) = (block["text"] for block in BLOCK.finditer(text) if block["language"] == "markdown")
    parsed = parse_card("loras/x.md", card.encode())
    assert parsed.script.startswith(tool)


def test_the_known_front_matter() -> None:
    found = re.search(r"Known front matter: `([^`]+)`", CARDS)
    assert found is not None
    assert set(re.split(r",\s+", found[1])) == set(FrontMatter.model_fields)


def test_the_samples_are_all_listed_and_those_that_are_named_exist() -> None:
    named = {code for text in (README, CARDS, USING, API) for code in re.findall(r"\b[\w/]+/\w+\.md\b", text)}
    named = {path for path in named if not path.startswith("docs/")}
    listed = {code for cells in rows(section(CARDS, "The samples"), "card") for code in CODE.findall(cells[0])}
    there = {str(path.relative_to(ROOT / "resources")) for path in (ROOT / "resources").rglob("*.md")}
    assert listed == there
    assert named <= there


@pytest.mark.parametrize(
    "language", sorted({block["language"] for text in all_pages().values() for block in BLOCK.finditer(text)})
)
def test_every_kind_of_example_is_known(language: str) -> None:
    """A new kind of example needs a test of its own."""
    assert language in ("", "console", "json", "javascript", "markdown", "bash", "nginx", "caddy", "ini", "sql", "text")


def test_the_readme_is_one_screen() -> None:
    assert len(README.splitlines()) <= 95


def test_the_picture_is_small() -> None:
    picture = ROOT / "docs/install.png"
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert picture.stat().st_size <= 120 * 1024
