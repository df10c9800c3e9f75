"""Measure everything and write the figures into docs/performance.md: ``make performance``.

    python bench/document.py                 measure (about ten minutes; the tunnel and the load need root) into results/, then write
    python bench/document.py --step STEP     measure only this (kernels:aes128-sha1, bars:3des-sha1, pipeline, tunnel, sessions), write nothing
    python bench/document.py --write         write from what lies in results/
    python bench/document.py --statuses      only the table of statuses in docs/library.md, which comes from the library itself
    python bench/document.py --check         exit 1 unless that table is as it should be

What stands between two marker comments of the page is replaced, the prose around it stays.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from headrace.bench import plot, tunnel_report
from headrace.bench import sessions as load
from headrace.bench.cases import ESP, MPPE, PACKETS
from headrace.bench.native import BenchError
from headrace.bench.report import Report
from headrace.bench.run import KERNELS, PIPELINE, Options, run
from headrace.dataplane.native import STATUS, status_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

ROOT: Final = Path(__file__).resolve().parent.parent
RESULTS: Final = ROOT / "results"
PERFORMANCE: Final = ROOT / "docs" / "performance.md"
PLOTS: Final = ROOT / "docs" / "performance"
BARS: Final = "bars"
LIBRARY: Final = ROOT / "docs" / "library.md"

Row = dict[str, Any]


def say(part: float, text: str) -> None:
    """Progress."""
    print(f"{100 * part:3.0f} %  {text}", file=sys.stderr, flush=True)


# --- measuring ----------------------------------------------------------------------------------------------------------------------


def _suite(name: str, transform: str) -> Row:
    return run(Options((KERNELS,), only=transform, bars=name == BARS), say).json()


def steps() -> dict[str, Callable[[], Row]]:
    """What is measured, in pieces of some tens of seconds."""
    found: dict[str, Callable[[], Row]] = {}
    for name in (KERNELS, BARS):
        for transform in (*ESP, *(("aes256-sha1",) if name == KERNELS else ()), *MPPE):
            found[f"{name}:{transform}"] = partial(_suite, name, transform)
    found[PIPELINE] = lambda: run(Options((PIPELINE,)), say).json()
    found["tunnel"] = lambda: _command("tunnel")
    found["sessions"] = lambda: _command("sessions", "--quick")
    return found


def measure(name: str, step: Callable[[], Row]) -> None:
    """Run one step into its JSON file. What this machine cannot do is named, and what was there is left."""
    print(f"{name}:", file=sys.stderr, flush=True)
    RESULTS.mkdir(parents=True, exist_ok=True)
    try:
        (RESULTS / f"{name.replace(':', '-')}.json").write_text(json.dumps(step(), indent=1) + "\n", "utf-8")
    except (BenchError, subprocess.CalledProcessError) as error:
        print(f"{name}: not measured: {error}", file=sys.stderr)


def results(name: str) -> Row | None:
    """All that was measured under this name."""
    found: Row | None = None
    for step in steps():
        path = RESULTS / f"{step.replace(':', '-')}.json"
        if step.partition(":")[0] != name or not path.exists():
            continue
        document: Row = json.loads(path.read_text("utf-8"))
        if found is None:
            found = document
            continue
        for part in ("rows", "bars", "overheads"):
            if part in document:
                found[part] += document[part]
    return found


def _command(*words: str) -> Row:
    # A process of its own: it may enter a user namespace.
    command = [sys.executable, "-m", "headrace", "bench", *words, "--json", "-"]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    document: Row = json.loads(done.stdout)
    return document


# --- writing ------------------------------------------------------------------------------------------------------------------------


def table(head: Sequence[str], rows: Iterable[Sequence[str]], left: int = 1) -> str:
    """A table of Markdown; the first ``left`` columns are text."""
    rule = ["---"] * left + ["---:"] * (len(head) - left)
    return "\n".join("| " + " | ".join(cells) + " |" for cells in [head, rule, *rows]) + "\n"


def _size(size: Any) -> str:
    return "IMIX" if size == "imix" else f"{size} B"


def _find(rows: Iterable[Row], **wanted: Any) -> Row | None:
    return next((row for row in rows if all(row.get(name) == value for name, value in wanted.items())), None)


def _rate(row: Row | None) -> str:
    return "" if row is None else f"{row['gbit_per_s']:.1f}" if row["gbit_per_s"] >= 1 else f"{row['gbit_per_s']:.3f}"


def machine(document: Row) -> str:
    """What it was measured on."""
    about = document["machine"]
    peers = ", ".join(f"{name} {version}" for name, version in about["peers"].items())
    ports = ", ".join(f"{name} {rate:.2f}" for name, rate in about["ports"].items())
    return (
        f"{about['processor']} at {about['core_ghz']} GHz, one core of {about['system']}, load {about['load']}; headrace {about['headrace']}, "
        f"level {about['level']}; {peers}.\n\nInstructions a cycle of this core: {ports}.\n"
    )


def kernels(document: Row) -> str:
    """Throughput and the distance from the bound."""
    rows = [row for row in document["rows"] if row["batch"] == 256]
    cells = []
    for row in rows:
        if row["implementation"] != "headrace":
            continue
        same = {name: row[name] for name in ("transform", "direction", "size")}
        peers = [_find(rows, implementation=name, **same) for name in ("ipsec-mb", "openssl", "cryptography")]
        least = row.get("bound_cycles_per_byte")
        cells.append(
            (
                row["transform"],
                row["direction"],
                _size(row["size"]),
                _rate(row),
                *map(_rate, peers),
                f"{row['cycles_per_byte']:.2f}",
                "" if least is None else f"{least:.2f}",
                "" if least is None else f"{100 * least / row['cycles_per_byte']:.0f} %",
            )
        )
    head = ("transform", "", "payload", "headrace", "ipsec-mb", "OpenSSL", "cryptography", "cycles/B", "bound", "of it")
    return table(head, cells, left=2)


def costs(document: Row) -> str:
    """Cycles for a packet and for an octet: a line through 256 and 1400 octets."""
    rows = [row for row in document["rows"] if row["batch"] == 256]
    cells = []
    pairs = dict.fromkeys((row["transform"], row["direction"]) for row in rows)
    for transform, direction in pairs:
        found = []
        for name in ("headrace", "ipsec-mb", "openssl"):
            ends = [
                _find(rows, transform=transform, direction=direction, size=size, implementation=name) for size in (256, 1400)
            ]
            if ends[0] is None or ends[1] is None:
                found += ["", ""]
                continue
            found += _line(ends[0]["cycles_per_byte"], ends[1]["cycles_per_byte"])
        ours = [
            _find(rows, transform=transform, direction=direction, size=size, implementation="headrace") for size in (256, 1400)
        ]
        if ours[0] is None or ours[1] is None or "bound_cycles_per_byte" not in ours[0]:
            continue
        least = _line(ours[0]["bound_cycles_per_byte"], ours[1]["bound_cycles_per_byte"])
        cells.append((transform, direction, *found[:2], *least, *found[2:]))
    head = (
        "transform",
        "",
        "headrace: packet",
        "byte",
        "bound: packet",
        "byte",
        "ipsec-mb: packet",
        "byte",
        "OpenSSL: packet",
        "byte",
    )
    return table(head, cells, left=2)


def _line(small: float, large: float) -> list[str]:
    """Cycles a packet and a byte, from cycles a byte at 256 and at 1400 octets."""
    slope = (1400 * large - 256 * small) / (1400 - 256)
    return [f"{256 * (small - slope):.0f}", f"{slope:.3f}"]


def batches(document: Row) -> str:
    """Throughput by batch size."""
    rows = document["rows"]
    counts = sorted({row["batch"] for row in rows})
    cells = []
    for row in rows:
        if row["batch"] != 1:
            continue
        same = {name: row[name] for name in ("transform", "direction", "size", "implementation")}
        cells.append(
            (
                row["transform"],
                row["direction"],
                row["implementation"],
                _size(row["size"]),
                *(_rate(_find(rows, batch=count, **same)) for count in counts),
            )
        )
    return table(("transform", "", "", "payload", *(f"batch {count}" for count in counts)), cells, left=3)


def bars(document: Row) -> str:
    """Ratios to peers."""
    cells = [
        (
            row["transform"],
            row["direction"],
            row["peer"],
            _size(row["size"]),
            str(row["batch"]),
            f"{row['bar']:.2f}",
            f"{row['median']:.2f}",
            f"{row['min']:.2f}",
            f"{row['max']:.2f}",
            "met" if row["met"] else "**missed**",
        )
        for row in document["bars"]
    ]
    reached = sum(row["met"] for row in document["bars"])
    head = ("transform", "", "peer", "payload", "batch", "bar", "median", "min", "max", "")
    return (
        table(head, cells, left=3)
        + f"\n{reached} of {len(cells)}; each of {document['bars'][0]['runs']} rounds measures both sides.\n"
    )


def pipeline(document: Row) -> str:
    """What the whole way costs."""
    cells = [
        (
            item["what"],
            item["direction"],
            *(f"{100 * item[name]:+.0f} %" for name in ("median", "min", "max")),
            "" if item["bar"] is None else f"{100 * item['bar']:.0f} %",
            "" if item["met"] is None else "met" if item["met"] else "**missed**",
        )
        for item in document["overheads"]
    ]
    return table(("", "", "median", "min", "max", "bar", ""), cells, left=2) + "\n" + batches(document)


def tunnels(document: Row) -> str:
    """TCP through a whole tunnel."""
    figures = table(tunnel_report.COLUMNS, tunnel_report.table(document), left=3)
    return figures + "\n" + table(tunnel_report.BAR_COLUMNS, tunnel_report.bar_table(document), left=1)


def sessions(document: Row) -> str:
    """What connecting costs, and what many sessions cost the traffic."""
    row = document["rows"][-1]
    rungs = ", ".join(f"{name.replace('_', ' ')} {value['median_ms']:.0f} ms" for name, value in row["rungs"].items())
    figures = table(load.COLUMNS, load.table(document), left=0)
    return f"{figures}\nMedian time on each rung, {row['at_once']} calls at once: {rungs}.\n"


SECTIONS: Final[tuple[tuple[str, str, Callable[[Row], str]], ...]] = (
    ("machine", KERNELS, machine),
    ("kernels", KERNELS, kernels),
    ("costs", KERNELS, costs),
    ("batches", KERNELS, batches),
    ("bars", BARS, bars),
    ("pipeline", PIPELINE, pipeline),
    ("tunnel", "tunnel", tunnels),
    ("sessions", "sessions", sessions),
)


def replace(text: str, name: str, content: str) -> str:
    """What stands between the two markers of this name."""
    pattern = re.compile(rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)", re.DOTALL)
    if not pattern.search(text):
        raise SystemExit(f"no place for {name}: the page lacks <!-- {name} --> and <!-- /{name} -->")
    return pattern.sub(lambda found: found.group(1) + content + found.group(2), text)


def drawn(rows: list[Row]) -> list[Row]:
    """What the plots show, so that one can see something: the bars' transforms and peers, batches of IMIX."""
    return [
        row
        for row in rows
        if row["implementation"] not in ("cryptography", "scapy")
        and row["transform"] != "aes256-sha1"
        and (row["batch"] == PACKETS or row["size"] == "imix")
    ]


def performance() -> None:
    """Write the figures and draw the plots."""
    text = PERFORMANCE.read_text("utf-8")
    for name, source, make in SECTIONS:
        document = results(source)
        if document is not None:
            text = replace(text, name, make(document))
    PERFORMANCE.write_text(text, "utf-8")
    for suite in (KERNELS, PIPELINE):
        document = results(suite)
        if document is not None:
            try:
                plot.files(Report(document["machine"], drawn(document["rows"])), PLOTS, ("svg",))
            except BenchError as error:  # matplotlib is missing
                raise SystemExit(str(error)) from None


def statuses() -> str:
    """Every status, as the library itself puts it."""
    return table(
        ("number", "status", "meaning"),
        ((str(n), f"`{label}`", status_text(label)) for n, label in sorted(STATUS.items())),
        left=3,
    )


def library(*, check: bool) -> bool:
    """Write the table of statuses, or only say whether it is as it should be."""
    text = LIBRARY.read_text("utf-8")
    fresh = replace(text, "statuses", statuses())
    if not check:
        LIBRARY.write_text(fresh, "utf-8")
    return fresh == text


def main() -> int:
    """See the top of this file."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--step", choices=steps(), metavar="STEP", help="measure only this")
    parser.add_argument("--write", action="store_true", help="measure nothing")
    parser.add_argument("--statuses", action="store_true", help="only the table of statuses")
    parser.add_argument("--check", action="store_true", help="only compare the table of statuses")
    wanted = parser.parse_args()
    if wanted.check:
        return 0 if library(check=True) else 1
    if wanted.step is not None:
        measure(wanted.step, steps()[wanted.step])
        return 0
    if not wanted.write and not wanted.statuses:
        for name, step in steps().items():
            measure(name, step)
    if not wanted.statuses:
        performance()
    library(check=False)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
