"""Figures as rows: for machines, as a table, beside an older run."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from headrace.bench.bounds import bound
from headrace.bench.native import BenchError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from headrace.bench.bars import Verdict
    from headrace.bench.measure import Result
    from headrace.bench.pipeline import Overhead

_KEY: Final = ("suite", "transform", "direction", "size", "batch", "implementation")


@dataclass(slots=True)
class Report:
    """One run."""

    machine: dict[str, Any]
    rows: list[dict[str, Any]] = field(default_factory=list)
    bars: list[dict[str, Any]] = field(default_factory=list)
    overheads: list[dict[str, Any]] = field(default_factory=list)

    def add(self, suite: str, results: Iterable[Result]) -> None:
        """Take what was measured."""
        for result in results:
            case = result.case
            row: dict[str, Any] = {
                "suite": suite,
                "transform": case.transform,
                "direction": case.direction,
                "size": case.size,
                "batch": case.batch,
                "implementation": result.implementation,
                "gbit_per_s": round(result.gbit, 4),
                "min": round(result.gbit_min, 4),
                "max": round(result.gbit_max, 4),
                "cycles_per_byte": round(result.cycles_per_byte, 4),
            }
            if result.way:
                row["way"] = result.way
            if suite == "kernels":
                least = bound(case, self.machine["ports"])
                if least is not None:
                    row["bound_cycles_per_byte"] = round(least, 4)
            self.rows.append(row)

    def add_overheads(self, overheads: Iterable[Overhead]) -> None:
        """Take the pipeline's ratios."""
        for item in overheads:
            self.overheads.append(
                {
                    "what": item.what,
                    "direction": item.direction,
                    "median": round(item.median, 4),
                    "min": round(min(item.rounds), 4),
                    "max": round(max(item.rounds), 4),
                    "bar": item.bar,
                    "met": None if item.bar is None else item.median <= item.bar,
                }
            )

    def add_bars(self, verdicts: Iterable[Verdict]) -> None:
        """Take ratios to peers."""
        self.bars += [verdict.json() for verdict in verdicts]

    def json(self) -> dict[str, Any]:
        """The document of ``--json``."""
        document: dict[str, Any] = {"machine": self.machine, "rows": self.rows}
        if self.bars:
            document["bars"] = self.bars
        if self.overheads:
            document["overheads"] = self.overheads
        return document


def read(path: Path) -> Report:
    """A run that was saved. Raises ``BenchError`` for what is none, ``OSError``."""
    try:
        document = json.loads(path.read_text("utf-8"))
        rows = [dict(row) for row in document["rows"]]
        for row in rows:
            for name in _KEY:
                row[name]
            row["gbit_per_s"] = float(row["gbit_per_s"])
        return Report(dict(document["machine"]), rows, document.get("bars", []), document.get("overheads", []))
    except (ValueError, KeyError, TypeError) as error:
        raise BenchError(f"{path} is no result of `headrace bench --json`: {error!r}") from error


def _size(row: Mapping[str, Any]) -> str:
    return "IMIX" if row["size"] == "imix" else f"{row['size']}"


COLUMNS: Final = (
    "transform",
    "direction",
    "size",
    "batch",
    "implementation",
    "Gbit/s",
    "min",
    "max",
    "cycles/B",
    "ours is",
    "bound",
)
RIGHT: Final = (2, 3, 5, 6, 7, 8, 9, 10)


def table(rows: Iterable[Mapping[str, Any]]) -> list[tuple[str, ...]]:
    """Cells for the columns above. "ours is" says how many times the peer's rate headrace has in the same rounds."""
    found: list[tuple[str, ...]] = []
    ours: Mapping[str, Any] | None = None
    for row in rows:
        first = row["implementation"] == "headrace"
        if first:
            ours = row
        same = ours is not None and all(ours[name] == row[name] for name in _KEY[:-1])
        ratio = "" if first or not same or ours is None else f"{ours['gbit_per_s'] / row['gbit_per_s']:.2f} x"
        least = row.get("bound_cycles_per_byte")
        found.append(
            (
                row["transform"] if first else "",
                row["direction"] if first else "",
                _size(row) if first else "",
                str(row["batch"]) if first else "",
                row["implementation"],
                _number(row["gbit_per_s"]),
                _number(row["min"]),
                _number(row["max"]),
                f"{row['cycles_per_byte']:.2f}" if row["cycles_per_byte"] else "",
                ratio,
                f"{100 * least / row['cycles_per_byte']:.0f} %" if first and least and row["cycles_per_byte"] else "",
            )
        )
    return found


def _number(value: float) -> str:
    return f"{value:.2f}" if value >= 0.1 else f"{value:.4f}"


COMPARE_COLUMNS: Final = ("suite", "transform", "direction", "size", "batch", "implementation", "then", "now", "change")
COMPARE_RIGHT: Final = (3, 4, 6, 7, 8)


def compare(old: Report, new: Report) -> list[tuple[str, ...]]:
    """Rows that both runs have, with the change in percent, the largest loss first."""
    before = {tuple(row[name] for name in _KEY): row for row in old.rows}
    found: list[tuple[float, tuple[str, ...]]] = []
    for row in new.rows:
        then = before.get(tuple(row[name] for name in _KEY))
        if then is None or then["gbit_per_s"] <= 0:
            continue
        change = row["gbit_per_s"] / then["gbit_per_s"] - 1
        cells = (row["suite"], row["transform"], row["direction"], _size(row), str(row["batch"]), row["implementation"])
        found.append((change, (*cells, _number(then["gbit_per_s"]), _number(row["gbit_per_s"]), f"{100 * change:+.1f} %")))
    return [cells for _, cells in sorted(found, key=lambda item: item[0])]


def heading(machine: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What a person wants to know about the machine."""
    missing = machine.get("missing", {})
    return [
        ("processor", f"{machine.get('processor')}, {machine.get('core_ghz')} GHz, pinned to core {machine.get('core')}"),
        ("system", f"{machine.get('system')}, load {machine.get('load')}"),
        ("headrace", f"{machine.get('headrace')}, level {machine.get('level')}"),
        ("peers", ", ".join(f"{name} {version}" for name, version in machine.get("peers", {}).items())),
        ("not measured", "; ".join(f"{name}: {why}" for name, why in missing.items())),
    ]
