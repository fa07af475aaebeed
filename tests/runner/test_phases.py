"""The two phases of an attempt: their names on the instance, their programs, and what their success means."""

from __future__ import annotations

from pathlib import Path

from service.events.event_types import VerificationStarted
from service.events.job import DOWNLOAD, VERIFY, ResourceProgress
from service.library import parse_card
from service.runner.instance.ended import Ended
from service.runner.phases import directories_of, phase_of
from tests.runner.test_plan import job

CARD = parse_card("a.md", b"---\ntitle: A\nsha256: " + b"a" * 64 + b"\n---\n# Download\n```bash\necho hello\n```\n")


def resource(phase: str) -> ResourceProgress:
    return ResourceProgress(number=2, resource="a.md", title="A", attempt=3, phase=phase, size_bytes=7)


def test_an_attempt_of_the_version_before_is_found_by_its_directories() -> None:
    assert phase_of(resource(DOWNLOAD), str, job(), CARD).directory == "2-3"
    assert phase_of(resource(VERIFY), str, job(), CARD).directory == "2-3-verify"
    assert directories_of(resource(VERIFY)) == ["2-3", "2-3-verify"]


def test_the_verification_is_found_by_its_program_without_its_ending() -> None:
    program = phase_of(resource(VERIFY), str, job(), CARD).program(CARD)
    assert "${RESOURCE_INSTALLER_ATTEMPT%-verify}" in program
    assert "a" * 64 in program


def test_a_download_runs_the_card_and_is_followed_by_its_verification_where_one_is_asked_for() -> None:
    download = phase_of(resource(DOWNLOAD), str, job(), CARD)
    assert download.program(CARD) == "echo hello\n"
    assert download.is_measured
    assert isinstance(download.start_of_next(job()), VerificationStarted)
    assert download.start_of_next(job(verify=False)) is None


def test_after_its_verification_a_resource_is_installed() -> None:
    verification = phase_of(resource(VERIFY), str, job(), CARD)
    assert not verification.is_measured
    assert verification.start_of_next(job()) is None


def test_each_phase_judges_by_what_its_own_parser_read() -> None:
    download, verification = (
        phase_of(resource(DOWNLOAD), str, job(), CARD),
        phase_of(resource(VERIFY), str, job(), CARD),
    )
    for phase in (download, verification):
        phase.parser.feed(b"hello\n")
        phase.parser.close(0)
    assert download.verdict(Ended(exit_code=0)).installed
    assert verification.verdict(Ended(exit_code=0)).cause == "verification_failed"
    finished = phase_of(resource(VERIFY), str, job(), CARD)
    finished.parser.feed(b"verify end 0 0 0\n")
    assert finished.verdict(Ended(exit_code=0)).installed


def test_the_scripts_know_the_ending() -> None:
    folder = Path(__file__).parents[2] / "service/runner/instance/scripts"
    assert "*-verify" in (folder / "verify_search.sh").read_text(encoding="utf-8")
