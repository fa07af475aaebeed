"""Each bar carries its own figures and the newest estimates, which are made a few times a second."""

from __future__ import annotations

import pytest

from service.events.event_types import Output, Progress
from service.events.recorded_event import NewEvent
from service.runner.downloads import MEASURE_SECONDS
from service.runner.eta import Eta, with_estimates

TOTAL = 1_000_000


class Bars:
    """A download of 1,000 bytes a second, ten bars a second, as its tool prints them."""

    def __init__(self, *, total: int | None = TOTAL, is_printed: bool = True) -> None:
        self.eta = Eta({"a": None})
        self.eta.start("a")
        self.now = 100.0
        self._total = total
        self._is_printed = is_printed

    def draw(self, done: int, seconds: float = 0.1) -> NewEvent:
        self.now += seconds
        return with_estimates(self.printed(done), self.eta, self.now, is_measured=True)

    def draw_until(self, done: int) -> NewEvent:
        for figure in range(0, done, 100):
            self.draw(figure)
        return self.draw(done)

    def printed(self, done: int) -> NewEvent:
        bar = Progress(
            stage="download",
            percent=7,
            downloaded=f"{done}B" if self._is_printed else None,
            downloaded_bytes=done,
            total_bytes=self._total,
            bytes_per_second=900.0 if self._is_printed else None,
        )
        return NewEvent(bar, "a", 3, 4_000 + done)


def left(bar: NewEvent) -> float | None:
    assert isinstance(bar.event, Progress)
    assert bar.event.resource_eta_seconds == bar.event.job_eta_seconds
    return bar.event.resource_eta_seconds


def test_what_a_tool_printed_stays_at_every_bar() -> None:
    bars = Bars()
    bars.draw_until(20_000)
    for done in range(20_100, 22_000, 100):
        drawn, printed = bars.draw(done), bars.printed(done)
        assert drawn[1:] == printed[1:]
        estimates = {"resource_eta_seconds": left(drawn), "job_eta_seconds": left(drawn)}
        assert drawn.event.data() == printed.event.data() | estimates
        assert left(drawn) == pytest.approx((TOTAL - done) / 1000, rel=0.02)


def test_the_bars_between_two_measurements_carry_the_last_estimates() -> None:
    bars = Bars()
    bars.draw_until(20_000)
    told = [left(bars.draw(done)) for done in range(20_100, 30_100, 100)]
    # 10 seconds, in which each bar alone would have estimates of its own.
    assert 2 * 10 <= len(set(told)) <= 10 / MEASURE_SECONDS + 1
    assert max(told.count(one) for one in told) <= MEASURE_SECONDS / 0.1 + 1


def test_the_bar_that_ends_a_file_is_measured_at_once() -> None:
    bars = Bars(total=20_000)
    bars.draw_until(19_900)
    assert left(bars.draw(19_950, seconds=0.001)) != 0
    assert left(bars.draw(20_000, seconds=0.001)) == 0


def test_a_total_that_grows_is_measured_at_once() -> None:
    bars = Bars()
    bars.draw_until(20_000)
    bars._total = 2 * TOTAL
    assert left(bars.draw(20_001, seconds=0.001)) == pytest.approx((2 * TOTAL - 20_000) / 1000, rel=0.02)


def test_the_first_bar_after_a_pause_and_after_a_retry_is_measured_at_once() -> None:
    bars = Bars()
    before = left(bars.draw_until(20_000))
    bars.draw(20_001, seconds=MEASURE_SECONDS)
    assert left(bars.draw(20_100, seconds=0.001)) == left(bars.draw(30_000, seconds=0.001))
    bars.eta.pause(bars.now)
    in_pause = left(bars.draw(30_000, seconds=600))
    bars.eta.resume(bars.now)
    after = left(bars.draw(40_000, seconds=0.001))
    assert before is not None
    assert in_pause is not None
    assert after is not None
    assert after < in_pause * 0.99 < before * 0.98
    bars.eta.start("a")
    # Its own rate is not known yet, so the one before it holds; all of it is still to come.
    again = left(bars.draw(0, seconds=0.001))
    assert again is not None
    assert again > after


def test_the_speed_of_a_tool_that_prints_none_is_the_measured_one() -> None:
    drawn = Bars(is_printed=False).draw_until(20_000).event
    assert isinstance(drawn, Progress)
    assert drawn.downloaded is None
    assert drawn.bytes_per_second is not None
    assert drawn.bytes_per_second == pytest.approx(1000, rel=0.05)
    assert drawn.bytes_per_second == round(drawn.bytes_per_second, 1)


def test_what_has_no_bytes_stays_as_it_is() -> None:
    eta = Eta({"a": None})
    for event in (Output("a line"), Progress(stage="images", percent=50)):
        new = NewEvent(event, "a", 1, 10)
        assert with_estimates(new, eta, 1.0, is_measured=True) is new


def test_the_bytes_of_a_verification_are_not_measured() -> None:
    bars = Bars()
    before = left(bars.draw_until(20_000))
    assert left(with_estimates(bars.printed(900_000), bars.eta, bars.now + 10, is_measured=False)) != 100
    bars.eta.finish("a")
    assert before is not None
    assert left(with_estimates(bars.printed(900_000), bars.eta, bars.now + 10, is_measured=False)) == 0
