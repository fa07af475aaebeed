"""Which fields a stored event may have."""

from __future__ import annotations

import dataclasses
import json
import typing
from typing import Any

import pytest

from service.events import event_types as types
from service.events.event_types import class_of, registered
from service.events.field_types import fits

WRONG: list[Any] = [{"a": 1}, [[1]], [None], object()]


def value_of(hint: Any) -> Any:
    """A value that this field may have."""
    if hint == list[str]:
        return ["a"]
    if typing.get_origin(hint) is list:
        return [{"a": 1}]
    kind = next((kind for kind in typing.get_args(hint) if kind is not type(None)), hint)
    return {str: "a", int: 7, float: 7.5, bool: True}[kind]


@pytest.mark.parametrize("key", registered(), ids=str)
def test_every_field_of_every_event(key: tuple[str, int]) -> None:
    cls = class_of(*key)
    assert cls is not None
    hints = typing.get_type_hints(cls)
    event = cls(**{field.name: value_of(hints[field.name]) for field in dataclasses.fields(cls)})
    good = json.loads(json.dumps(event.data()))
    assert fits(*key, good)
    assert fits(*key, good | {"added_later": 1})
    for field in dataclasses.fields(cls):
        for wrong in WRONG:
            assert not fits(*key, good | {field.name: wrong})
        without = {name: value for name, value in good.items() if name != field.name}
        is_optional = field.default is not dataclasses.MISSING or field.default_factory is not dataclasses.MISSING
        assert fits(*key, without) is is_optional


def test_what_is_not_known_is_not_looked_into() -> None:
    assert fits("nothing", 1, {"a": object()})
    assert fits("progress", 77, {"stage": 5})


def test_estimates_leave_every_other_field_alone() -> None:
    hints = typing.get_type_hints(types.Progress)
    values = {field.name: value_of(hints[field.name]) for field in dataclasses.fields(types.Progress)}
    estimated = {"resource_eta_seconds": 1.0, "job_eta_seconds": 2.0, "bytes_per_second": 3.0}
    assert types.Progress(**values).with_estimates(1.0, 2.0, 3.0).data() == types.Progress(**values).data() | estimated
