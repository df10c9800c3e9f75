"""At which times of the week an account may be used: ``mon-fri 08:00-18:00, sat 09:00-12:00``.

Times are the gateway's local time. A span that ends before it begins goes on past midnight: ``fri 22:00-06:00`` ends on Saturday.
``always`` is no limit.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from datetime import datetime

DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_DAY: Final = 24 * 60
_WEEK: Final = 7 * _DAY
_SPAN: Final = re.compile(r"([a-z]{3})(?:-([a-z]{3}))?\s+([0-9]{2}):([0-9]{2})-([0-9]{2}):([0-9]{2})", re.ASCII)
_SPANS_MAX: Final = 32


class HoursError(ValueError):
    """A text that is not a list of hours."""


@dataclass(frozen=True, slots=True)
class Hours:
    """When an account may be used."""

    text: str
    spans: tuple[tuple[int, int], ...]
    """Begin and end in minutes since Monday 00:00, the end excluded; an end past the week goes on at its beginning. Empty is always."""

    @classmethod
    def parse(cls, text: str) -> Hours:
        """Read the text form. Raises ``HoursError``."""
        plain = " ".join(text.lower().split())
        if plain == "always":
            return cls(plain, ())
        parts = plain.split(",")
        if len(parts) > _SPANS_MAX:
            raise HoursError(f"more than {_SPANS_MAX} spans of time")
        return cls(plain, tuple(span for part in parts for span in _spans(part.strip())))

    def allow(self, moment: datetime) -> bool:
        """Whether a local time is inside."""
        if not self.spans:
            return True
        minute = moment.weekday() * _DAY + moment.hour * 60 + moment.minute
        return any(begin <= minute < end or begin <= minute + _WEEK < end for begin, end in self.spans)


def _spans(text: str) -> list[tuple[int, int]]:
    found = _SPAN.fullmatch(text)
    if found is None:
        raise HoursError(f'{text!r} is not a span of time; write "mon-fri 08:00-18:00"')
    first, last = found[1], found[2] or found[1]
    for day in (first, last):
        if day not in DAYS:
            raise HoursError(f"{day!r} is not a day; the days are {', '.join(DAYS)}")
    hours = [int(found[i]) for i in range(3, 7)]
    begin, end = hours[0] * 60 + hours[1], hours[2] * 60 + hours[3]
    if hours[1] > 59 or hours[3] > 59 or begin >= _DAY or end > _DAY:
        raise HoursError(f"{text!r} holds a time that does not exist")
    if begin == end:
        raise HoursError(f"{text!r} is empty; for whole days write 00:00-24:00")
    length = (end - begin) % _DAY or _DAY
    start, stop = DAYS.index(first), DAYS.index(last)
    days = [(start + i) % 7 for i in range((stop - start) % 7 + 1)]
    return [(day * _DAY + begin, day * _DAY + begin + length) for day in days]
