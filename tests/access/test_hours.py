"""Hours of the week."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.access.hours import Hours, HoursError

MONDAY = datetime(2026, 11, 23, 0, 0)  # noqa: DTZ001 - local time without a zone is what is compared


def at(day: int, hour: int, minute: int = 0) -> datetime:
    return MONDAY + timedelta(days=day, hours=hour, minutes=minute)


@pytest.mark.parametrize(
    ("text", "inside", "outside"),
    [
        ("always", [at(0, 0), at(6, 23, 59)], []),
        ("mon-fri 08:00-18:00", [at(0, 8), at(4, 17, 59)], [at(0, 7, 59), at(0, 18), at(5, 12)]),
        ("Sat  09:00-12:00, sun 10:00-11:00", [at(5, 9), at(6, 10, 30)], [at(4, 9), at(6, 9, 59)]),
        ("fri 22:00-06:00", [at(4, 22), at(5, 5, 59)], [at(4, 21, 59), at(5, 6), at(4, 5)]),
        ("sun 22:00-06:00", [at(6, 23), at(0, 5)], [at(0, 6), at(6, 5)]),
        ("sat-mon 00:00-24:00", [at(5, 0), at(6, 12), at(0, 23, 59)], [at(1, 0), at(4, 23, 59)]),
    ],
)
def test_allow(text: str, inside: list[datetime], outside: list[datetime]) -> None:
    hours = Hours.parse(text)
    assert all(hours.allow(moment) for moment in inside)
    assert not any(hours.allow(moment) for moment in outside)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "mon",
        "mon 8-18",
        "xyz 08:00-18:00",
        "mon 08:60-18:00",
        "mon 25:00-26:00",
        "mon 08:00-08:00",
        "mon-fri",
        "08:00-18:00",
        "," * 99,
    ],
)
def test_not_hours(text: str) -> None:
    with pytest.raises(HoursError):
        Hours.parse(text)


@given(st.text(max_size=60))
def test_any_text_is_hours_or_an_error(text: str) -> None:
    try:
        hours = Hours.parse(text)
    except HoursError:
        return
    assert Hours.parse(hours.text) == hours
