"""Figures of whole tunnels as a table, as bars in the terminal, and as pictures."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any, Final

from headrace.bench.native import BenchError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

COLUMNS: Final = (
    "implementation",
    "transform",
    "",
    "Gbit/s",
    "min",
    "max",
    "Gbit/CPU-s",
    "loss",
    "idle µs",
    "loaded µs",
)
RIGHT: Final = (3, 4, 5, 6, 7, 8, 9)
BAR_COLUMNS: Final = ("aim", "reached", "bar", "")
BAR_RIGHT: Final = (1, 2)
_BLOCKS: Final = " ▏▎▍▌▋▊▉█"


def table(figures: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """Cells for the columns above. Latency is a round trip's median."""
    return [
        (
            row["implementation"],
            row["transform"],
            row["direction"].upper() + (f" {row['size']}" if row["direction"] == "udp" else ""),
            *(f"{row[name]:.2f}" for name in ("gbit_per_s", "min", "max", "gbit_per_cpu_s")),
            f"{100 * row['loss']:.2f} %" if "loss" in row else "",
            f"{row['idle_us']:.0f}" if "idle_us" in row else "",
            f"{row['loaded_us']:.0f}" if "loaded_us" in row else "",
        )
        for row in figures["rows"]
    ]


def bar_table(figures: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """Cells for ``BAR_COLUMNS``."""
    return [
        (item["what"], f"{item['value']:.2f}", f"{item['bar']:g}", "met" if item["met"] else "missed")
        for item in figures.get("bars", [])
    ]


def heading(figures: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What a person wants to know about the machine."""
    machine = figures["machine"]
    return [
        ("processor", f"{machine['processor']}, {machine['processors']} of them, load {machine['load']}"),
        ("system", machine["system"]),
        ("headrace", f"{machine['headrace']}, level {machine['level']}"),
        ("peers", ", ".join(f"{name} {version}" for name, version in machine["peers"].items())),
        ("not measured", "; ".join(f"{name}: {why}" for name, why in machine["missing"].items())),
    ]


def _label(row: Mapping[str, Any]) -> str:
    return f"{row['implementation']}, {row['transform']}"


def terminal(figures: Mapping[str, Any], *, width: int = 0) -> Iterator[str]:
    """Bars of throughput."""
    columns = width or shutil.get_terminal_size((100, 25)).columns
    label = max((len(_label(row)) for row in figures["rows"]), default=0)
    room = max(20, columns - label - 14)
    for direction in ("tcp", "udp"):
        rows = [row for row in figures["rows"] if row["direction"] == direction]
        most = max((row["gbit_per_s"] for row in rows), default=0.0) or 1.0
        yield f"{direction.upper()}, Gbit/s"
        for row in rows:
            eighths = round(row["gbit_per_s"] / most * room * 8)
            bar = "█" * (eighths // 8) + (_BLOCKS[eighths % 8] if eighths % 8 else "")
            yield f"  {_label(row):<{label}}  {bar:<{room}} {row['gbit_per_s']:6.2f}"
        yield ""


def files(figures: Mapping[str, Any], directory: Path) -> list[Path]:
    """Write PNG and SVG. Raises ``BenchError`` if matplotlib is missing, ``OSError``."""
    try:
        import matplotlib as mpl
    except ImportError as error:
        raise BenchError("no PNG and SVG: matplotlib is not installed; pip install 'headrace[bench]'") from error
    mpl.use("Agg")
    from matplotlib.figure import Figure

    directory.mkdir(parents=True, exist_ok=True)
    figure: Any = Figure(figsize=(15, 0.32 * max(8, len(figures["rows"]) // 2) + 1.5), layout="constrained")
    for axis, direction in zip(figure.subplots(1, 2), ("tcp", "udp"), strict=True):
        rows = [row for row in figures["rows"] if row["direction"] == direction][::-1]
        values = [row["gbit_per_s"] for row in rows]
        spread = [
            [value - row["min"] for value, row in zip(values, rows, strict=True)],
            [row["max"] - value for value, row in zip(values, rows, strict=True)],
        ]
        colours = ["#0b7285" if row["implementation"] == "headrace" else "#adb5bd" for row in rows]
        axis.barh([_label(row) for row in rows], values, xerr=spread, color=colours, error_kw={"lw": 0.7})
        axis.set_title({"tcp": "TCP, one connection", "udp": "UDP, loss below 0.1 %"}[direction], fontsize=10)
        axis.set_xlabel("Gbit/s")
        axis.tick_params(axis="y", labelsize=8)
    machine = figures["machine"]
    figure.suptitle(f"{machine['processor']}, {machine['processors']} of them for both ends", fontsize=10)
    written = [directory / f"tunnel.{ending}" for ending in ("svg", "png")]
    for path in written:
        figure.savefig(path, dpi=120)
    return written
