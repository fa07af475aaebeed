"""Every event says which format of streams it came with, and every state is one that each version knows.

Run as a module, it writes the list again: only ever for a format that no release has.
"""

from __future__ import annotations

import json
from itertools import groupby
from pathlib import Path
from typing import Any

from service.events import formats
from service.events.event_types import class_of, registered
from service.events.formats import FIRST_FORMAT, newest_format, readable
from service.events.job import JobState, ResourceState
from service.events.recorded_event import NewEvent
from tests.kit.newer_version import FORMAT, both, newer_version

FILE = Path(__file__).with_suffix("").with_name("formats.json")


def listed() -> dict[str, Any]:
    def since(key: tuple[str, int]) -> int:
        cls = class_of(*key)
        assert cls is not None
        return cls.since

    keys = sorted(registered(), key=lambda key: (since(key), key))
    return {
        "events": {str(number): [f"{name} {version}" for name, version in of] for number, of in groupby(keys, since)},
        "states": {"job": sorted(JobState), "resource": sorted(ResourceState)},
    }


def test_no_format_and_no_state_changes_unseen() -> None:
    """A new event raises ``since`` and gets a list of its own here. A replica of an earlier version cannot read a row
    in a new state: that needs a revision which raises WORKS_FROM."""
    assert listed() == json.loads(FILE.read_text(encoding="utf-8"))
    assert list(listed()["events"]) == [str(number) for number in range(FIRST_FORMAT, newest_format() + 1)]


def test_what_not_all_can_read_is_told_as_before_or_left_out() -> None:
    assert newest_format() < FORMAT
    with newer_version():
        assert newest_format() == FORMAT
        assert readable(both(), FORMAT) == both()
        (told,) = readable(both(), FIRST_FORMAT)
        assert told.event == both()[1].event.earlier()
        assert readable([told], FIRST_FORMAT) == [told]
        assert readable(both()[:1], FIRST_FORMAT) == []
        placed = [NewEvent(event=both()[1].event, resource="a.md", attempt=2, source_offset=9)]
        assert readable(placed, FIRST_FORMAT)[0][1:] == ("a.md", 2, 9)
    assert formats.newest_format() < FORMAT


if __name__ == "__main__":
    FILE.write_text(json.dumps(listed(), indent=1) + "\n", encoding="utf-8")
