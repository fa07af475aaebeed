"""The cases by their section."""

from tests.realwork.cases import (
    background,
    cards,
    causes,
    error_bodies,
    half_files,
    nothing,
    quiet,
    traps,
    without_the_service,
)

CASES = (
    *half_files.CASES,
    *background.CASES,
    *nothing.CASES,
    *error_bodies.CASES,
    *without_the_service.CASES,
    *quiet.CASES,
    *causes.CASES,
    *cards.CASES,
    *traps.CASES,
)
