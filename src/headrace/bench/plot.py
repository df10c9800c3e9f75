"""Throughput as pictures: bars in the terminal, and PNG and SVG where matplotlib is installed."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any, Final

from headrace.bench.native import BenchError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from headrace.bench.report import Report

Row = dict[str, Any]
_EIGHTHS: Final = " ▏▎▍▌▋▊▉█"
_COLOURS: Final = {
    "headrace": "#0b7285",
    "ipsec-mb": "#e8590c",
    "openssl": "#868e96",
    "cryptography": "#ced4da",
    "scapy": "#dee2e6",
    "ESP alone": "#99d5df",
}


def _bar(part: float, width: int) -> str:
    eighths = round(max(0.0, min(1.0, part)) * width * 8)
    return "█" * (eighths // 8) + (_EIGHTHS[eighths % 8] if eighths % 8 else "")


def _groups(rows: Sequence[Row], key: Callable[[Row], tuple[Any, ...]]) -> Iterator[tuple[tuple[Any, ...], list[Row]]]:
    found: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        found.setdefault(key(row), []).append(row)
    yield from found.items()


def bound_gbit(row: Mapping[str, Any], ghz: float) -> float | None:
    """What the ports allow, in gigabits a second."""
    least = row.get("bound_cycles_per_byte")
    return ghz * 8 / float(least) if least and ghz else None


def terminal(report: Report, *, width: int = 0) -> Iterator[str]:
    """Bars for every transform and direction, by packet size and by batch size. The mark ┊ is what the ports allow."""
    columns = width or shutil.get_terminal_size((100, 25)).columns
    ghz = float(report.machine.get("core_ghz") or 0)
    label = max((len(row["implementation"]) for row in report.rows), default=0)
    room = max(20, columns - label - 26)
    for (suite, transform, direction), rows in _groups(report.rows, lambda r: (r["suite"], r["transform"], r["direction"])):
        limits = [bound_gbit(row, ghz) or 0.0 for row in rows]
        most = max(max(row["gbit_per_s"], limit) for row, limit in zip(rows, limits, strict=True)) or 1.0
        yield f"{suite}: {transform} {direction}, Gbit/s"
        for (size, batch), case in _groups(rows, lambda r: (r["size"], r["batch"])):
            name = f"{'IMIX' if size == 'imix' else size}"
            if batch != 256:
                name += f" b{batch}"
            for number, row in enumerate(case):
                text = _bar(row["gbit_per_s"] / most, room).ljust(room)
                limit = bound_gbit(row, ghz)
                if number == 0 and limit:
                    at = min(room - 1, round(limit / most * room))
                    text = text[:at] + ("┊" if text[at] == " " else text[at]) + text[at + 1 :]
                value = row["gbit_per_s"]
                shown = f"{value:8.2f}" if value >= 0.1 else f"{value:8.4f}"
                yield f"  {name if number == 0 else '':>9}  {row['implementation']:<{label}} {text.rstrip():<{room}} {shown}"
        yield ""


def files(report: Report, directory: Path, endings: Sequence[str] = ("svg", "png")) -> list[Path]:
    """Write PNG and SVG of throughput by packet size and by batch size. Raises ``BenchError`` if matplotlib is missing, ``OSError``."""
    try:
        import matplotlib as mpl
    except ImportError as error:
        raise BenchError("no PNG and SVG: matplotlib is not installed; pip install 'headrace[bench]'") from error
    mpl.use("Agg")
    mpl.rcParams["svg.fonttype"] = "none"  # text stays text: a tenth of the octets
    mpl.rcParams["svg.hashsalt"] = "headrace"  # the same figures, the same file
    directory.mkdir(parents=True, exist_ok=True)
    written: list[Path] = []
    for suite in dict.fromkeys(row["suite"] for row in report.rows):
        rows = [row for row in report.rows if row["suite"] == suite]
        for name, draw in (("size", _by_size), ("batch", _by_batch)):
            figure = draw(report, rows)
            if figure is None:
                continue
            for ending in endings:
                path = directory / f"{suite}-by-{name}.{ending}"
                figure.savefig(path, dpi=120, metadata={"Date": None} if ending == "svg" else None)
                written.append(path)
    return written


def _axes(count: int) -> tuple[Any, list[Any]]:
    from matplotlib.figure import Figure

    across = min(2, count)
    down = -(-count // across)
    figure: Any = Figure(figsize=(7.5 * across, 3.2 * down), layout="constrained")
    axes = figure.subplots(down, across, squeeze=False).flatten()
    for unused in axes[count:]:
        unused.set_visible(False)
    return figure, list(axes[:count])


def _caption(report: Report) -> str:
    machine = report.machine
    return f"{machine.get('processor')}, {machine.get('core_ghz')} GHz, one core, level {machine.get('level')}"


def _by_size(report: Report, rows: Sequence[Row]) -> Any:
    chosen = [row for row in rows if row["batch"] == 256]
    panels = list(_groups(chosen, lambda r: (r["transform"], r["direction"])))
    if not panels:
        return None
    ghz = float(report.machine.get("core_ghz") or 0)
    figure, axes = _axes(len(panels))
    for axis, ((transform, direction), group) in zip(axes, panels, strict=True):
        sizes = list(dict.fromkeys(row["size"] for row in group))
        names = list(dict.fromkeys(row["implementation"] for row in group))
        step = 0.8 / len(names)
        for place, name in enumerate(names):
            by_size = {row["size"]: row for row in group if row["implementation"] == name}
            there = [n for n, size in enumerate(sizes) if size in by_size]
            values = [by_size[sizes[n]]["gbit_per_s"] for n in there]
            spread = [
                [value - by_size[sizes[n]]["min"] for n, value in zip(there, values, strict=True)],
                [by_size[sizes[n]]["max"] - value for n, value in zip(there, values, strict=True)],
            ]
            at = [n - 0.4 + step * (place + 0.5) for n in there]
            axis.bar(at, values, step * 0.95, yerr=spread, label=name, color=_COLOURS.get(name), error_kw={"lw": 0.7})
        for n, size in enumerate(sizes):
            limit = next((bound_gbit(row, ghz) for row in group if row["size"] == size), None)
            if limit:
                axis.hlines(
                    limit, n - 0.42, n + 0.42, colors="black", linestyles="dotted", label="port bound" if n == 0 else None
                )
        axis.set_xticks(range(len(sizes)), ["IMIX" if size == "imix" else f"{size} B" for size in sizes])
        axis.set_title(f"{transform} {direction}", fontsize=10)
        axis.set_ylabel("Gbit/s")
        axis.legend(fontsize=7, loc="upper left")
    figure.suptitle(f"Throughput by packet size, batches of 256\n{_caption(report)}", fontsize=10)
    return figure


def _by_batch(report: Report, rows: Sequence[Row]) -> Any:
    panels = [
        (key, group)
        for key, group in _groups(rows, lambda r: (r["transform"], r["direction"], r["size"]))
        if len({row["batch"] for row in group}) > 1
    ]
    if not panels:
        return None
    figure, axes = _axes(len(panels))
    for axis, ((transform, direction, size), group) in zip(axes, panels, strict=True):
        for name in dict.fromkeys(row["implementation"] for row in group):
            points = sorted((row["batch"], row["gbit_per_s"]) for row in group if row["implementation"] == name)
            axis.plot(*zip(*points, strict=True), marker="o", label=name, color=_COLOURS.get(name))
        axis.set_xscale("log", base=2)
        counts = sorted({row["batch"] for row in group})
        axis.set_xticks(counts, [str(count) for count in counts])
        axis.set_title(f"{transform} {direction}, {'IMIX' if size == 'imix' else f'{size} B'}", fontsize=10)
        axis.set_xlabel("packets in a batch")
        axis.set_ylabel("Gbit/s")
        axis.set_ylim(bottom=0)
        axis.legend(fontsize=7)
    figure.suptitle(f"Throughput by batch size\n{_caption(report)}", fontsize=10)
    return figure
