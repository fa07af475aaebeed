"""What holds for every estimate: whatever is reported, and for every steady download however its tool shows it."""

from __future__ import annotations

import itertools
import math
import random
import statistics
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from service.runner.eta import SECONDS_MAX, Eta

RESOURCES = ("a", "b", "c")
AMOUNTS = st.one_of(st.integers(0, 100), st.integers(0, 10**18))
CALLS = st.one_of(
    st.tuples(st.just("start"), st.sampled_from(RESOURCES)),
    st.tuples(st.just("finish"), st.sampled_from(RESOURCES)),
    st.tuples(st.sampled_from(["pause", "resume"]), st.just("")),
    st.tuples(
        st.just("observe"),
        st.sampled_from(RESOURCES),
        st.none() | AMOUNTS,
        st.none() | AMOUNTS,
        st.none() | st.floats(0, 1e18),
    ),
)


@given(
    sizes=st.tuples(*[st.none() | AMOUNTS for _ in RESOURCES]),
    calls=st.lists(st.tuples(st.sampled_from([0.0, 0.01, 0.3, 1.0, 15.0, 4000.0]), CALLS), max_size=120),
)
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_whatever_is_told_is_a_time_or_nothing(
    sizes: tuple[int | None, ...], calls: list[tuple[float, tuple[Any, ...]]]
) -> None:
    eta, now = Eta(dict(zip(RESOURCES, sizes, strict=True))), 1000.0
    has_grown = False
    seen: dict[str, int] = {}
    for seconds, (name, *given_) in calls:
        now += seconds
        if name in ("pause", "resume"):
            getattr(eta, name)(now)
        elif name == "observe":
            resource, downloaded, total, speed = given_
            eta.observe(resource, now, downloaded, total, speed)
            has_grown = has_grown or bool(speed) or (downloaded or 0) > seen.get(resource, downloaded or 0)
            seen[resource] = downloaded or 0
        else:
            getattr(eta, name)(*given_)
        for told in (eta.job_eta_seconds(now), *(eta.resource_eta_seconds(r, now) for r in RESOURCES)):
            assert told is None or 0 <= told <= SECONDS_MAX
            assert has_grown or not told


@given(
    rate=st.floats(1e4, 1e9),
    every=st.floats(0.05, 2),
    seconds=st.floats(200, 4000),
    first=st.floats(0, 0.7),
    digits=st.sampled_from([3, 4, None]),
    says_speed=st.booleans(),
    burst_seconds=st.sampled_from([0.0, 0.0, 1.0, 3.0]),
    pause_seconds=st.sampled_from([0.0, 700.0]),
    seed=st.integers(0, 2**32),
)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_a_steady_download_is_estimated_steadily(
    rate: float,
    every: float,
    seconds: float,
    first: float,
    digits: int | None,
    says_speed: bool,
    burst_seconds: float,
    pause_seconds: float,
    seed: int,
) -> None:
    """``seconds`` it takes in all, ``first`` of it was there before; what arrives is written in bursts."""
    chance = random.Random(seed)
    total = int(rate * seconds)
    grain = 10 ** (math.floor(math.log10(total)) + 1 - digits) if digits is not None else 1
    settled = max(20.0, 5 * grain / rate)
    eta, now, begin, told = Eta({"a": total}), 50.0, 50.0, []
    eta.start("a")
    while now - begin < settled + 60:
        now += every * (0.7 + 0.6 * chance.random())
        came = (now - begin) // burst_seconds * burst_seconds if burst_seconds else now - begin
        done = total * first + rate * came
        if done >= total * 0.95:
            break
        eta.observe("a", now, round(done / grain) * grain, total, rate if says_speed else None)
        estimate = eta.job_eta_seconds(now)
        if now - begin > settled:
            assert estimate is not None
            told.append((estimate, (total * (1 - first) - rate * (now - begin)) / rate))
            if pause_seconds:
                eta.pause(now)
                assert eta.job_eta_seconds(now + pause_seconds / 2) == estimate
                now, begin, pause_seconds = now + pause_seconds, begin + pause_seconds, 0.0
                eta.resume(now)
    errors = [abs(estimate / truth - 1) for estimate, truth in told]
    jumps = [max(a / b, b / a) for (a, _), (b, _) in itertools.pairwise(told)]
    assert statistics.median(errors or [0]) <= 0.2
    assert max(errors, default=0) <= 0.7
    assert max(jumps, default=1) <= 1.7


FIGURES = st.tuples(
    st.sampled_from([0.0, 0.1, 0.3, 1.0, 40.0]),
    st.integers(0, 60).map(lambda n: n * 10),
    st.sampled_from([None, 300, 600]),
    st.none() | st.floats(0, 1e3),
)


@given(figures=st.lists(FIGURES, max_size=80))
@settings(max_examples=300, deadline=None)
def test_the_short_way_of_a_figure_comes_to_the_same(
    figures: list[tuple[float, int, int | None, float | None]],
) -> None:
    short, long = Eta({"a": 2_000}), Eta({"a": 2_000})
    now = 1000.0
    for eta in (short, long):
        eta.start("a")
    for seconds, downloaded, total, speed in figures:
        now += seconds
        short.observe("a", now, downloaded, total, speed)
        long._downloads["a"]._alone = None
        long.observe("a", now, downloaded, total, speed)
        assert short.resource_eta_seconds("a", now) == long.resource_eta_seconds("a", now)


def test_estimates_are_made_a_few_times_a_second_and_at_every_end() -> None:
    eta = Eta({"a": 3_000})
    eta.start("a")
    seen = []
    for tick in range(2_001):
        now = tick / 100
        # Two files, one after the other, at 100 bytes a second: 100 bars a second.
        done = tick if tick <= 1_000 else tick - 1_000
        eta.observe("a", now, done, 1_000 if tick <= 1_000 else 1_001)
        seen.append(eta.estimates("a", now).resource_eta_seconds)
    made = sum(one != next_ for one, next_ in itertools.pairwise(seen))
    assert 40 <= made <= 4 * 20 + 4
    assert seen[-1] == pytest.approx(10, rel=0.1)
    eta.observe("a", 20.02, 1_001, 1_001)
    eta.finish("a")
    assert eta.estimates("a", 20.03) == (0, 0)
