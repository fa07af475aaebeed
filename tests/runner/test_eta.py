"""The estimates against simulated downloads: bursts, rounding, changes of the rate, pauses, several at once."""

from __future__ import annotations

import random
import statistics

import pytest

from service.runner.eta import Eta

MEGABYTE = 1_000_000


class Simulation:
    """Downloads whose true rate is known, told to an Eta as tools tell it: in bursts, rounded, every now and then."""

    def __init__(self, sizes: dict[str, int], *, seed: int, every: float, digits: int | None = None) -> None:
        self.eta = Eta(sizes)
        self.sizes = sizes
        self.done = dict.fromkeys(sizes, 0.0)
        self.now = 1000.0
        self._chance = random.Random(seed)
        self._every = every
        self._digits = digits
        for resource in sizes:
            self.eta.start(resource)
            self.eta.observe(resource, self.now, 0, sizes[resource])

    def run(self, seconds: float, rate: float, resources: list[str] | None = None) -> list[float]:
        """Download at this true rate in all; returns |estimate / truth - 1| for each report after the first 15 s."""
        running = resources or list(self.sizes)
        errors = []
        end, begin = self.now + seconds, self.now
        while self.now < end:
            step = self._every * (0.5 + self._chance.random())
            self.now += step
            for resource in running:
                burst = 0.7 + 0.6 * self._chance.random()
                self.done[resource] += rate / len(running) * step * burst
                self.eta.observe(resource, self.now, self._shown(self.done[resource]), self.sizes[resource])
            left = sum(max(0.0, self.sizes[r] - self.done[r]) for r in self.sizes)
            told = self.eta.job_eta_seconds(self.now)
            if told is not None:
                assert 0 <= told < float("inf")
            if self.now - begin >= 15:
                assert told is not None
                errors.append(abs(told / (left / rate) - 1))
        return errors

    def _shown(self, done: float) -> int:
        return int(done) if self._digits is None else int(float(f"{done:.{self._digits}g}"))


@pytest.mark.parametrize(("every", "digits"), [(0.1, None), (0.1, 3), (1.0, None), (1.0, 3), (0.5, None)])
@pytest.mark.parametrize("count", [1, 4])
def test_a_rate_that_changes_by_four(every: float, digits: int | None, count: int) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    # A tool with three digits shows steps of 0.1 % of what it has: files are small enough for that to mean something.
    size = 400 * MEGABYTE // count
    simulation = Simulation({f"r{n}": size for n in range(count)}, seed=seed, every=every, digits=digits)
    for rate in (4 * MEGABYTE, MEGABYTE, 4 * MEGABYTE):
        errors = simulation.run(30, rate)
        assert statistics.median(errors) <= 0.2, (rate, statistics.median(errors))


@pytest.mark.parametrize("rate", [3 * MEGABYTE, 30 * MEGABYTE, 300 * MEGABYTE])
def test_a_figure_that_is_rounded_to_a_hundred_megabytes(rate: int) -> None:
    eta = Eta({"a": 40_000 * MEGABYTE})
    eta.start("a")
    errors = []
    for tick in range(600):
        done = 12_000 * MEGABYTE + rate * tick / 10
        eta.observe("a", tick / 10, round(done / 1e8) * 10**8, 40_000 * MEGABYTE, float(f"{rate:.3g}"))
        told = eta.job_eta_seconds(tick / 10)
        if tick > 150:
            assert told is not None
            errors.append(abs(told / ((40_000 * MEGABYTE - done) / rate) - 1))
    assert statistics.median(errors) <= 0.2
    assert max(errors) <= 0.5


def test_nothing_is_guessed() -> None:
    eta = Eta({"a": None, "b": 100})
    assert eta.job_eta_seconds(0) is None
    eta.start("a")
    for second in range(10):
        eta.observe("a", second, second * 10, None)
    assert eta.resource_eta_seconds("a", 10) is None
    assert eta.job_eta_seconds(10) is None
    eta.observe("a", 10, 100, 200)
    assert eta.resource_eta_seconds("a", 10) == pytest.approx(10, rel=0.1)
    assert eta.job_eta_seconds(10) == pytest.approx(20, rel=0.1)
    eta.finish("b")
    assert eta.job_eta_seconds(10) == pytest.approx(10, rel=0.1)


def test_silence_lengthens_the_estimate_until_there_is_none() -> None:
    eta = Eta({"a": 1000})
    eta.start("a")
    for second in range(11):
        eta.observe("a", second, second * 10, 1000)
    told = [eta.job_eta_seconds(10 + silence) for silence in range(12)]
    known = [value for value in told if value is not None]
    assert known == sorted(known)
    assert known[-1] > 3 * known[0]
    assert told[-1] is None


def test_a_pause_counts_for_nothing() -> None:
    eta = Eta({"a": 1000})
    eta.start("a")
    for second in range(11):
        eta.observe("a", second, second * 10, 1000)
    before = eta.job_eta_seconds(10)
    eta.pause(10)
    eta.resume(610)
    assert eta.job_eta_seconds(610) == pytest.approx(before)


def test_a_retry_begins_from_nothing_and_a_next_file_does_not() -> None:
    eta = Eta({"a": 1000})
    eta.start("a")
    for second in range(11):
        eta.observe("a", second, second * 50, 500)
    eta.observe("a", 11, 50, 500)
    assert eta.resource_eta_seconds("a", 11) == pytest.approx(450 / 50, rel=0.3)
    eta.start("a")
    for second in range(11):
        eta.observe("a", 20 + second, second * 50, 1000)
    assert eta.resource_eta_seconds("a", 30) == pytest.approx(500 / 50, rel=0.3)


def test_what_is_there_already_in_the_middle_of_a_download() -> None:
    """hf counts a shard that lay in the folder at once: it is no rate."""
    eta = Eta({"a": 40_000 * MEGABYTE})
    eta.start("a")
    told = []
    for tick in range(300):
        done = tick * MEGABYTE + (20_000 * MEGABYTE if tick > 150 else 0)
        eta.observe("a", tick / 10, done, 40_000 * MEGABYTE)
        told.append(eta.job_eta_seconds(tick / 10))
    known = [value for value in told[:150] if value is not None]
    assert known[-1] == pytest.approx(3985, rel=0.05)
    assert min(value for value in told[151:] if value is not None) > 0.5 * 1985
    assert told[-1] == pytest.approx(1970, rel=0.05)


def test_what_came_while_the_link_was_down() -> None:
    """Six minutes of bars within one second, in pieces."""
    eta = Eta({"a": 2_000 * MEGABYTE})
    eta.start("a")
    times = [tick / 10 for tick in range(300)]
    late = [390 + tick / 3600 for tick in range(3600)]
    for tick, now in enumerate([*times, *late, *(391 + tick / 10 for tick in range(100))]):
        eta.observe("a", now, tick * MEGABYTE // 10, 2_000 * MEGABYTE)
        told = eta.job_eta_seconds(now)
        if told is not None:
            assert told == pytest.approx((2_000 - tick / 10), rel=0.1)
    assert told is not None


def test_a_rate_that_becomes_a_hundred_times_as_high() -> None:
    eta = Eta({"a": 10**12})
    eta.start("a")
    done = 0
    for tick in range(400):
        done += MEGABYTE // 10 if tick < 200 else 10 * MEGABYTE
        eta.observe("a", tick / 10, done, 10**12)
    told = eta.job_eta_seconds(40)
    assert told == pytest.approx((10**12 - done) / (100 * MEGABYTE), rel=0.1)


def test_many_small_files_are_no_reason_to_guess() -> None:
    """A hundred files that are heard of once or twice each, 2 MB/s in all."""
    eta = Eta({"a": 300 * MEGABYTE})
    eta.start("a")
    for tick in range(301):
        eta.observe("a", tick / 10, tick * MEGABYTE // 5, 60 * MEGABYTE)
    before = eta.job_eta_seconds(30)
    for second in range(30):
        eta.observe("a", 31 + second, 0, MEGABYTE + second)
        eta.observe("a", 32 + second, MEGABYTE + second, MEGABYTE + second)
    assert before == pytest.approx(240 / 2, rel=0.1)
    assert eta.job_eta_seconds(62) == pytest.approx((240 - 30) / 2, rel=0.1)


def test_one_that_is_verified_leaves_its_place_to_the_next() -> None:
    eta = Eta({"a": 100 * MEGABYTE, "b": 50 * MEGABYTE})
    eta.start("a")
    for second in range(51):
        eta.observe("a", second, second * 2 * MEGABYTE, 100 * MEGABYTE)
    assert eta.resource_eta_seconds("a", 300) == 0
    assert eta.job_eta_seconds(300) == pytest.approx(25, rel=0.1)


def test_a_try_that_is_over_counts_no_more() -> None:
    """curl --retry begins the same file anew."""
    eta = Eta({"a": 1000 * MEGABYTE})
    eta.start("a")
    for second in range(50):
        eta.observe("a", second, second * 10 * MEGABYTE, 1000 * MEGABYTE)
    for second in range(50):
        eta.observe("a", 60 + second, second * 10 * MEGABYTE, 1000 * MEGABYTE)
    assert eta.job_eta_seconds(109) == pytest.approx(51, rel=0.1)


def test_what_has_ended_is_not_to_come() -> None:
    eta = Eta({"a": 1000, "b": 10**9})
    eta.start("a")
    eta.finish("b")
    for second in range(11):
        eta.observe("a", second, second * 50, 1000)
    assert eta.job_eta_seconds(10) == pytest.approx(10, rel=0.1)


def test_more_than_was_promised_is_never_negative() -> None:
    eta = Eta({"a": 100})
    eta.start("a")
    for second in range(11):
        eta.observe("a", second, second * 50, None)
    assert eta.job_eta_seconds(10) == 0
