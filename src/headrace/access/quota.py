"""The periods of quotas: which one a moment belongs to, by the gateway's local time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from datetime import datetime

PERIODS: Final = ("day", "week", "month", "total")


@dataclass(frozen=True, slots=True)
class Usage:
    """What an account has used."""

    octets: int = 0
    """Inner octets, both ways together."""
    seconds: float = 0.0


def period_of(moment: datetime, period: str) -> str:
    """Name the period that a moment is in: ``2026-11-23``, ``2026-W48``, ``2026-11``, ``total``."""
    match period:
        case "day":
            return moment.strftime("%Y-%m-%d")
        case "week":
            year, week, _ = moment.isocalendar()
            return f"{year}-W{week:02}"
        case "month":
            return moment.strftime("%Y-%m")
        case _:
            return "total"
