"""How many times as fast as a peer headrace is to be, case by case, and how many times it is."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from headrace.bench.cases import DECRYPT, ENCRYPT, MPPE, Case, Size

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from headrace.bench.measure import Result

IPSEC_MB: Final = "ipsec-mb"
OPENSSL: Final = "openssl"

# transform: bars for 64, 256, 1400 octets and IMIX in batches of 256, and for IMIX in batches of 32; encryption, then decryption.
_COLUMNS: Final[tuple[tuple[Size, int], ...]] = ((64, 256), (256, 256), (1400, 256), ("imix", 256), ("imix", 32))
_BARS: Final[dict[str, tuple[tuple[float, ...], tuple[float, ...]]]] = {
    "aes128-sha1": ((1.7, 1.4, 1.15, 1.4, 1.5), (1.4, 1.25, 1.05, 1.2, 1.3)),
    "aes256-sha256": ((1.6, 1.3, 1.05, 1.3), (1.35, 1.2, 1.0, 1.15)),
    "aes128gcm16": ((1.5, 1.2, 1.0, 1.2), (1.5, 1.2, 1.0, 1.2)),
    "aes256gcm16": ((1.5, 1.2, 1.0, 1.2), (1.5, 1.2, 1.0, 1.2)),
    "3des-sha1": ((4, 8, 10, 8), (4, 8, 10, 8)),
    "mppe128-stateless": ((4, 4, 4.5, 4), ()),
    "mppe128-stateless-one-session": ((2, 2, 2.5, 2), ()),
    "mppe128-stateful": ((3, 3, 4, 3), ()),
}


@dataclass(frozen=True, slots=True)
class Bar:
    """One case's bar."""

    case: Case
    peer: str
    ratio: float
    """Our rate over the peer's."""


def bars(only: str | None = None) -> Iterator[Bar]:
    """All of them, or those of one transform."""
    for transform, ways in _BARS.items():
        if only is not None and transform != only:
            continue
        peer = OPENSSL if transform in MPPE else IPSEC_MB
        for direction, ratios in zip((ENCRYPT, DECRYPT), ways, strict=True):
            for (size, batch), ratio in zip(_COLUMNS, ratios, strict=False):
                yield Bar(Case(transform, direction, size, batch), peer, ratio)


@dataclass(frozen=True, slots=True)
class Verdict:
    """A bar and what was measured: the ratios of the rounds, each of neighbours in time."""

    bar: Bar
    rounds: tuple[float, ...]

    @property
    def median(self) -> float:
        """Of the rounds."""
        return statistics.median(self.rounds)

    @property
    def met(self) -> bool:
        """Whether the median reaches the bar."""
        return self.median >= self.bar.ratio

    def json(self) -> dict[str, Any]:
        """For machines."""
        case = self.bar.case
        return {
            "transform": case.transform,
            "direction": case.direction,
            "size": case.size,
            "batch": case.batch,
            "peer": self.bar.peer,
            "bar": self.bar.ratio,
            "median": round(self.median, 3),
            "min": round(min(self.rounds), 3),
            "max": round(max(self.rounds), 3),
            "runs": len(self.rounds),
            "met": self.met,
        }


def judge(bar: Bar, results: Sequence[Result]) -> Verdict | None:
    """The verdict, ``None`` if the peer was not measured. ``results[0]`` is ours."""
    for result in results[1:]:
        if result.implementation == bar.peer:
            return Verdict(bar, tuple(theirs / ours for theirs, ours in zip(result.rounds, results[0].rounds, strict=True)))
    return None


COLUMNS: Final = ("transform", "direction", "size", "batch", "peer", "bar", "median", "min", "max", "runs", "")
RIGHT: Final = (2, 3, 5, 6, 7, 8, 9)


def table(rows: Sequence[dict[str, Any]]) -> list[tuple[str, ...]]:
    """Cells for the columns above."""
    return [
        (
            row["transform"],
            row["direction"],
            "IMIX" if row["size"] == "imix" else str(row["size"]),
            str(row["batch"]),
            row["peer"],
            f"{row['bar']:.2f}",
            f"{row['median']:.2f}",
            f"{row['min']:.2f}",
            f"{row['max']:.2f}",
            str(row["runs"]),
            "met" if row["met"] else "missed",
        )
        for row in rows
    ]
