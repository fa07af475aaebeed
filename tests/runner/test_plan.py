"""What a job needs next: which resources begin, at what rate, and how long nothing is due."""

from __future__ import annotations

from typing import Any

import pytest

from service.events.job import VERIFY, Job, JobState, ResourceProgress, ResourceState
from service.runner.instance.ssh import SESSIONS_MAX
from service.runner.plan import (
    BANDWIDTH_MIN,
    CANCEL_SECONDS_MAX,
    VERIFYING_MAX,
    bandwidth_share,
    is_done,
    lost_dependencies,
    seconds_until_due,
    startable,
)

PENDING, RUNNING, INSTALLED, FAILED = (
    ResourceState.PENDING,
    ResourceState.RUNNING,
    ResourceState.INSTALLED,
    ResourceState.FAILED,
)


def resource(name: str, state: ResourceState = PENDING, **changes: Any) -> ResourceProgress:
    return ResourceProgress(number=1, resource=name, title=name, state=state, **changes)


def job(*resources: ResourceProgress, **changes: Any) -> Job:
    values: dict[str, Any] = {
        "job_id": "j",
        "state": JobState.RUNNING,
        "ssh_host": "h",
        "ssh_port": 22,
        "ssh_user": "root",
        "ui_home": "/ui",
        "last_sequence": 2,
        "created_at_ms": 0,
        "started_at_ms": 0,
        "resources": resources,
    }
    return Job(**(values | changes))


def names(resources: list[ResourceProgress]) -> list[str]:
    return [r.resource for r in resources]


def test_what_ran_before_a_restart_begins_first_and_the_bound_holds() -> None:
    of = job(resource("a"), resource("b", RUNNING), resource("c"), resource("d"), parallel=2)
    assert names(startable(of, [], 0)) == ["b", "a"]
    assert names(startable(of, ["b"], 0)) == ["a"]
    assert names(startable(of, ["a", "b"], 0)) == []


def verifying(name: str, **changes: Any) -> ResourceProgress:
    return resource(name, RUNNING, phase=VERIFY, **changes)


def test_a_verification_holds_no_place() -> None:
    assert names(startable(job(verifying("a"), resource("b"), resource("c")), ["a"], 0)) == ["b"]
    assert names(startable(job(verifying("a"), resource("b", RUNNING), resource("c")), ["a", "b"], 0)) == []
    many = [verifying(name) for name in "abcd"]
    assert names(startable(job(*many, resource("e"), resource("f"), parallel=2), ["a", "b", "c", "d"], 0)) == ["e", "f"]


def test_after_a_restart_verifications_begin_beside_the_next_download() -> None:
    of = job(verifying("a"), resource("b"), resource("c"))
    assert names(startable(of, [], 0)) == ["a", "b"]


def test_a_dependent_waits_for_the_verification() -> None:
    assert names(startable(job(verifying("a"), resource("b", dependencies=("a",))), ["a"], 0)) == []


def test_a_task_that_has_only_just_begun_holds_its_place() -> None:
    assert names(startable(job(resource("a"), resource("b")), ["a"], 0)) == []


@pytest.mark.parametrize(("verifications", "places"), [(0, 8), (1, 7), (2, 6), (5, 6)])
def test_a_session_stays_free_for_a_pause(verifications: int, places: int) -> None:
    at_work = [verifying(f"v{n}") for n in range(verifications)]
    waiting = [resource(f"w{n}") for n in range(10)]
    found = startable(job(*at_work, *waiting, parallel=8), names(at_work), 0)
    assert len(found) == places
    assert places + min(verifications, VERIFYING_MAX) < SESSIONS_MAX


def test_a_verification_uses_none_of_the_bandwidth() -> None:
    of = job(verifying("a", bandwidth=900_000), resource("b"), bandwidth_limit=1_000_000)
    assert bandwidth_share(of) == 1_000_000


def test_a_dependent_waits_until_what_it_needs_is_installed() -> None:
    waiting = resource("b", dependencies=("a",))
    assert names(startable(job(resource("a", RUNNING), waiting, parallel=4), ["a"], 0)) == []
    assert names(startable(job(resource("a", INSTALLED), waiting), [], 0)) == ["b"]


def test_a_retry_waits_until_it_is_due() -> None:
    of = job(resource("a", retry_at_ms=5_000), resource("b", FAILED))
    assert names(startable(of, [], 4_999)) == []
    assert seconds_until_due(of, 4_000) == pytest.approx(1.0, abs=0.01)
    assert names(startable(of, [], 5_000)) == ["a"]
    assert seconds_until_due(of, 5_000) is None


@pytest.mark.parametrize("changes", [{"state": JobState.PAUSED}, {"cancel_requested_at_ms": 1}])
def test_a_paused_or_cancelled_job_begins_nothing_new(changes: dict[str, Any]) -> None:
    of = job(resource("a", RUNNING), resource("b"), parallel=2, **changes)
    assert names(startable(of, [], 0)) == ["a"]


def test_what_depends_on_something_lost_is_found_with_the_reason() -> None:
    of = job(resource("a", FAILED), resource("b", dependencies=("a",)), resource("c", dependencies=("b",)))
    assert [(r.resource, lost) for r, lost in lost_dependencies(of)] == [("b", "a")]
    assert lost_dependencies(of._replace(cancel_requested_at_ms=1)) == []


def test_a_job_is_done_when_all_have_ended_and_a_cancelled_one_when_nothing_runs() -> None:
    of = job(resource("a", INSTALLED), resource("b"))
    assert not is_done(of)
    assert is_done(of._replace(cancel_requested_at_ms=1))
    assert not is_done(job(resource("a", RUNNING), cancel_requested_at_ms=1))
    assert is_done(job(resource("a", INSTALLED), resource("b", FAILED)))


def test_the_patience_with_a_cancel_ends() -> None:
    of = job(resource("a", RUNNING), cancel_requested_at_ms=10_000)
    assert seconds_until_due(of, 10_000) == CANCEL_SECONDS_MAX
    assert (seconds_until_due(of, 71_000) or 0) <= 0


def test_the_bandwidth_is_shared_among_those_that_begin() -> None:
    both = job(resource("a"), resource("b"), parallel=2, bandwidth_limit=1_000_000)
    assert bandwidth_share(both) == 500_000
    one = job(resource("a", RUNNING, bandwidth=700_000), resource("b"), parallel=2, bandwidth_limit=1_000_000)
    assert bandwidth_share(one) == 300_000
    lowered = one._replace(bandwidth_limit=600_000)
    assert bandwidth_share(lowered) == 300_000
    assert bandwidth_share(both._replace(bandwidth_limit=1_024)) == BANDWIDTH_MIN
    assert bandwidth_share(both._replace(bandwidth_limit=None)) is None
