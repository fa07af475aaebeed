"""Only bars are left out, the last of each stage stays and counts the others, whatever comes in whatever order."""

from __future__ import annotations

import random

import pytest

from service.events import event_types as types
from service.events.event_types import Event
from service.events.recorded_event import NewEvent
from service.runner.thinning import Thinner


def thinned(events: list[NewEvent], cuts: int = 1) -> list[NewEvent]:
    """The events of a read that was parsed in this many pieces."""
    thinner = Thinner()
    size = max(1, len(events) // cuts)
    for begin in range(0, len(events), size):
        thinner.add(events[begin : begin + size])
    return thinner.events()


def some_events(seed: int) -> list[NewEvent]:
    chance = random.Random(seed)
    makers: list[Event] = [
        types.Output(line="a line"),
        types.StageStart(name="A"),
        types.StageComplete(name="A"),
        types.RunEnded(run=1, exit_code=0, bytes=1, announced_bytes=None, destination="x", name="x"),
    ]
    events: list[NewEvent] = []
    for offset in range(chance.randrange(400)):
        event = chance.choice(makers)
        if chance.random() < 0.9:
            event = types.Progress(stage=chance.choice(("model", "images", "download")), percent=offset % 101)
        resource = chance.choice(("a.md", "b.md"))
        events.append(NewEvent(event=event, resource=resource, attempt=1, source_offset=offset))
    return events


def bars(events: list[NewEvent]) -> list[types.Progress]:
    return [new.event for new in events if isinstance(new.event, types.Progress)]


@pytest.mark.parametrize("seed", range(200))
def test_nothing_but_bars_is_left_out_and_each_is_counted(seed: int) -> None:
    events = some_events(seed)
    kept = thinned(events)
    assert [new for new in kept if not isinstance(new.event, types.Progress)] == [
        new for new in events if not isinstance(new.event, types.Progress)
    ]
    assert sum(1 + bar.left_out for bar in bars(kept)) == len(bars(events))
    offsets = [new.source_offset for new in kept]
    assert offsets == sorted(offsets, key=lambda offset: offset or 0)
    assert kept == thinned(events, cuts=7)


@pytest.mark.parametrize("seed", range(200))
def test_the_last_bar_of_each_resource_and_stage_stays(seed: int) -> None:
    events = some_events(seed)
    last = {(new.resource, new.event.stage): new for new in events if isinstance(new.event, types.Progress)}
    kept = {new.source_offset: new.event for new in thinned(events)}
    for new in last.values():
        bar = kept[new.source_offset]
        assert isinstance(bar, types.Progress)
        assert isinstance(new.event, types.Progress)
        assert bar.percent == new.event.percent


def test_the_last_bar_of_a_file_stays_where_the_next_one_begins() -> None:
    def bar(percent: int, offset: int) -> NewEvent:
        return NewEvent(event=types.Progress(stage="model", percent=percent), resource="a.md", source_offset=offset)

    start = NewEvent(event=types.StageStart(name="B"), resource="a.md", source_offset=3)
    kept = thinned([bar(50, 1), bar(100, 2), start, bar(10, 4), bar(20, 5)])
    assert [(b.percent, b.left_out) for b in bars(kept)] == [(100, 1), (20, 1)]


def test_what_is_kept_does_not_grow_with_the_bars() -> None:
    thinner = Thinner()
    for number in range(10_000):
        bar = types.Progress(stage="model", percent=number % 101)
        thinner.add([NewEvent(event=bar, resource="a.md", attempt=1, source_offset=number)])
        assert len(thinner.events()) == 1
    assert bars(thinner.events())[0].left_out == 9_999
