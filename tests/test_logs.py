"""The service's own log: one line an event, with the job, without secrets, and nothing that a name could forge."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import os
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import structlog

from service.logs import concerns_job, configure_logs
from tests.kit.ports import free_port
from tests.kit.running import write_card
from tests.kit.service import ServiceProcess

SECRET = "geheim-7f3a9c"
logger = logging.getLogger("tests.logs")


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    """Logging is global to the process: give it back as it was."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    logging.captureWarnings(False)
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.contextvars.clear_contextvars()


def written(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_one_line_of_json_with_what_it_was_given() -> None:
    configure_logs("json", "info", stream=(stream := io.StringIO()))
    logger.info("link to %s lost", "a:22", extra={"seconds": 3, "what": {"deep": [1, None]}})
    logger.debug("not shown")
    (line,) = written(stream)
    assert (line["message"], line["level"], line["logger"]) == ("link to a:22 lost", "info", "tests.logs")
    assert (line["seconds"], line["what"]) == (3, {"deep": [1, None]})
    assert line["at"].endswith("Z")
    assert "job_id" not in line


def test_without_a_format_it_is_json_where_nobody_looks() -> None:
    configure_logs(None, "info", stream=(stream := io.StringIO()))
    logger.warning("x")
    assert written(stream)[0]["level"] == "warning"


async def test_every_line_of_a_jobs_task_has_its_id() -> None:
    configure_logs("json", "info", stream=(stream := io.StringIO()))

    async def step(number: int) -> None:
        logger.info("step %d", number)

    async def job(job_id: str) -> None:
        concerns_job(job_id)
        await asyncio.gather(*(asyncio.create_task(step(number)) for number in range(3)))

    await asyncio.gather(*(asyncio.create_task(job(job_id)) for job_id in ("one", "two")))
    logger.info("beside them")
    lines = written(stream)
    assert sorted(line["job_id"] for line in lines[:-1]) == ["one"] * 3 + ["two"] * 3
    assert "job_id" not in lines[-1]


def test_a_job_that_is_named_in_the_text_is_its_job() -> None:
    configure_logs("json", "info", stream=(stream := io.StringIO()))
    job_id = str(uuid4())
    logger.error("publishing events of job %s failed", job_id)
    assert written(stream)[0]["job_id"] == job_id


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_secrets_are_nowhere(log_format: Any) -> None:
    configure_logs(log_format, "info", secrets=[SECRET], stream=(stream := io.StringIO()))
    logger.info("sent %s", SECRET, extra={"header": f"Bearer {SECRET}", SECRET: [SECRET]})
    logger.info("GET https://host/file?token=abcdefghij&x=1", extra={"odd": Path(f"/a/{SECRET}")})
    try:
        raise ValueError(f"it was {SECRET}")
    except ValueError:
        logger.exception("failed")
    text = stream.getvalue()
    assert SECRET not in text
    assert "abcdefghij" not in text
    assert text.count("[redacted]") >= 6
    assert "ValueError: it was [redacted]" in text


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_a_name_cannot_begin_a_line_or_colour_one(log_format: Any) -> None:
    configure_logs(log_format, "info", stream=(stream := io.StringIO()))
    logger.info("card %s", 'x\n{"message": "forged"}\x1b[31m\r', extra={"name_of_it": "y\nforged\x07\x9b1m\u2028"})
    text = stream.getvalue()
    assert text.count("\n") == 1
    assert not set(text) & set("\x1b\r\x07\x9b\u2028")
    assert "forged" in text


def test_errors_of_others_are_lines_too() -> None:
    configure_logs("json", "info", stream=(stream := io.StringIO()))
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn("old", UserWarning, stacklevel=1)
    logging.getLogger("asyncssh").info("a handshake")
    logging.getLogger("asyncio").error("Task exception was never retrieved")
    assert [line["logger"] for line in written(stream)] == ["py.warnings", "asyncio"]


def test_configured_again_nothing_is_said_twice() -> None:
    configure_logs("json", "info", stream=io.StringIO())
    configure_logs("json", "error", stream=(stream := io.StringIO()))
    logger.info("not shown")
    logger.error("shown")
    assert [line["message"] for line in written(stream)] == ["shown"]


async def test_the_life_of_a_service(tmp_path: Path) -> None:
    (tmp_path / "resources").mkdir()
    write_card(tmp_path, "a.md")
    settings = {
        "INSTALLER_DATABASE_URL": f"sqlite+aiosqlite:///{tmp_path / 'log.sqlite3'}",
        "INSTALLER_RESOURCES_DIR": str(tmp_path / "resources"),
        "INSTALLER_KNOWN_HOSTS": str(tmp_path / "known_hosts"),
        "INSTALLER_CONNECT_TIMEOUT": "1",
        "INSTALLER_CIVITAI_API_KEY": SECRET,
    }
    service = await ServiceProcess(tmp_path, settings).start()
    try:
        body = {"ssh_host": "127.0.0.1", "ssh_port": free_port(), "ui_home": f"/{SECRET}", "resources": ["a.md"]}
        _, answer = await service.post("/resources/install", body)
        await service.ended(answer["job_id"])
        reader, writer = await asyncio.open_connection("127.0.0.1", int(service.url.rpartition(":")[2]))
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\nX-Odd: \0\r\n\r\n")
        assert b" 400 " in await reader.readline()
        writer.close()
    finally:
        assert await service.terminate() == 0
    lines = [json.loads(line) for line in service.log.splitlines()]
    said = [line["message"] for line in lines]
    assert said[0] == "service started"
    assert lines[0]["url"] == service.url
    assert said[-1] == "service stopped"
    of_job = [line["message"] for line in lines if line.get("job_id") == answer["job_id"]]
    # Asked for, and taken up at once: in this order or the other.
    assert {"POST /resources/install", "job taken up"} <= set(of_job)
    assert any("failed, 0 of 1" in message for message in of_job)
    assert SECRET not in service.log
    (broken,) = (line for line in lines if line["logger"] == "aiohttp.server")
    assert broken["level"] == "info"
    assert "exception" not in broken


@pytest.mark.parametrize(
    ("name", "value"),
    [("INSTALLER_LOG_FORMAT", "xml"), ("INSTALLER_LOG_LEVEL", "loud"), ("INSTALLER_LOG_LEVL", "info")],
)
def test_wrong_settings_are_named(name: str, value: str, tmp_path: Path) -> None:
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), name: value}
    command = [sys.executable, "-m", "service", "serve", "--port", "0"]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 2
    assert name in ended.stderr
    assert "Traceback" not in ended.stderr
