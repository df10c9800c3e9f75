"""``headrace bench``."""

from __future__ import annotations

import json as json_format
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from headrace.cli import exits
from headrace.cli.common import facts, table
from headrace.cli.exits import SYSTEM, CommandError, complain

if TYPE_CHECKING:
    from headrace.bench.report import Report
    from headrace.bench.tunnel import Plan

_FILE: Final = "FILE"
_SUITES: Final = ("kernels", "pipeline", "tunnel", "sessions")
_SESSIONS: Final = (1, 100, 1000, 10000)


def bench(
    suite: Annotated[
        str,
        typer.Argument(
            metavar="kernels|pipeline|tunnel|sessions", help="What to measure; kernels and pipeline if nothing is named."
        ),
    ] = "",
    quick: Annotated[bool, typer.Option("--quick", help="Less exact: in under 45 seconds, the tunnel in under 90.")] = False,
    only: Annotated[
        str | None,
        typer.Option("--only", metavar="TRANSFORM", help="One transform: aes128-sha1, aes256gcm16, mppe128-stateless ..."),
    ] = None,
    bars: Annotated[
        bool, typer.Option("--bars", help="Kernels: the ratios to the peers that are aimed at, and whether they are reached.")
    ] = False,
    json: Annotated[
        Path | None, typer.Option("--json", metavar=_FILE, help="Write the figures as JSON; - is standard output.")
    ] = None,
    compare: Annotated[
        Path | None, typer.Option("--compare", metavar=_FILE, help="An earlier --json of this machine: say what changed.")
    ] = None,
    plot: Annotated[
        Path | None, typer.Option("--plot", metavar="DIR", help="Write plots there as PNG and SVG (needs matplotlib).")
    ] = None,
    peers: Annotated[bool, typer.Option("--peers/--no-peers", help="Measure the installed peers too.")] = True,
) -> int:
    """Measure throughput on one core, beside the peers that are installed: Intel ipsec-mb, OpenSSL, and the Python libraries.

    Every implementation does the whole ESP job on the same packets, in turns, and every packet is checked before anything is timed.
    Medians of rounds; min and max are those of the slowest and the fastest round. "bound" is the part of what this processor's ports
    allow that our kernel reaches; in the plot the mark is that bound.

    `tunnel` measures TCP, UDP and latency through whole tunnels between two network namespaces, beside a bare cable, plain forwarders
    and the VPNs that are installed (OpenVPN, wireguard-go, strongSwan's user-space ESP); it needs root, iperf3 and ping.

    `sessions` connects 1, 100, 1,000 and 10,000 clients to one gateway (--quick: up to 1,000): connections a second, memory of each,
    and throughput over up to 100 of them.
    """
    if suite and suite not in _SUITES:
        raise CommandError(f"there is no benchmark {suite!r}", f"write one of {', '.join(_SUITES)}")
    if suite == "tunnel":
        from headrace.bench.tunnel import plan

        return _tunnel(plan(quick=quick, peers=peers, only=only), json, plot)
    if suite == "sessions":
        return _sessions(_SESSIONS[:3] if quick else _SESSIONS, json)
    from headrace.bench import report as reports
    from headrace.bench.native import BenchError
    from headrace.bench.run import Options, run

    try:
        old = reports.read(compare) if compare is not None else None
        options = Options((suite,) if suite else _SUITES[:2], quick=quick, only=only, bars=bars, peers=peers)
    except BenchError as error:
        raise CommandError(str(error)) from None
    try:
        report = run(options, _Progress().say)
    except BenchError as error:
        raise CommandError(str(error), code=SYSTEM) from None
    if json is not None and str(json) == "-":
        print(json_format.dumps(report.json(), indent=1))
    else:
        _show(report, old)
        if json is not None:
            json.write_text(json_format.dumps(report.json(), indent=1) + "\n", "utf-8")
    if plot is not None:
        _plot(report, plot)
    return exits.OK


def _tunnel(wanted: Plan, json: Path | None, plot: Path | None) -> int:
    from headrace.bench import tunnel
    from headrace.bench import tunnel_report as reports
    from headrace.bench.native import BenchError

    try:
        figures = tunnel.run(wanted, _Progress().say)
    except BenchError as error:
        raise CommandError(str(error), code=SYSTEM) from None
    text = json_format.dumps(figures, indent=1)
    if json is not None and str(json) == "-":
        print(text)
    else:
        facts(reports.heading(figures))
        print()
        table(reports.COLUMNS, reports.table(figures), right=reports.RIGHT)
        print()
        if figures["bars"]:
            table(reports.BAR_COLUMNS, reports.bar_table(figures), right=reports.BAR_RIGHT)
            print()
        for line in reports.terminal(figures):
            print(line)
        if json is not None:
            json.write_text(text + "\n", "utf-8")
    if plot is not None:
        try:
            written = reports.files(figures, plot)
        except BenchError as error:
            raise CommandError(str(error), code=SYSTEM) from None
        complain("wrote " + ", ".join(str(path) for path in written))
    return exits.OK


def _sessions(counts: tuple[int, ...], json: Path | None) -> int:
    from headrace.bench import sessions, tunnel_report
    from headrace.bench.native import BenchError

    try:
        figures = sessions.run(counts, 32, _Progress().say)
    except BenchError as error:
        raise CommandError(str(error), code=SYSTEM) from None
    text = json_format.dumps(figures, indent=1)
    if json is not None and str(json) == "-":
        print(text)
        return exits.OK
    facts(sessions.heading(figures))
    print()
    table(sessions.COLUMNS, sessions.table(figures), right=sessions.RIGHT)
    print()
    table(tunnel_report.BAR_COLUMNS, tunnel_report.bar_table(figures), right=tunnel_report.BAR_RIGHT)
    if json is not None:
        json.write_text(text + "\n", "utf-8")
    return exits.OK


def _show(report: Report, old: Report | None) -> None:
    from headrace.bench import bars, plot
    from headrace.bench import report as reports

    facts(reports.heading(report.machine))
    print()
    for name in dict.fromkeys(row["suite"] for row in report.rows):
        print(f"{name}:")
        table(reports.COLUMNS, reports.table(row for row in report.rows if row["suite"] == name), right=reports.RIGHT)
        print()
    if report.overheads:
        print("pipeline, cost in percent:")
        cells = [
            (
                item["what"],
                item["direction"],
                *(f"{100 * item[name]:+.1f}" for name in ("median", "min", "max")),
                "" if item["bar"] is None else f"{100 * item['bar']:.0f}",
                "" if item["met"] is None else "met" if item["met"] else "missed",
            )
            for item in report.overheads
        ]
        table(("what", "direction", "median", "min", "max", "bar", ""), cells, right=(2, 3, 4, 5))
        print()
    if report.bars:
        print("ratios to peers:")
        table(bars.COLUMNS, bars.table(report.bars), right=bars.RIGHT)
        missed = sum(not row["met"] for row in report.bars)
        print(f"{len(report.bars) - missed} of {len(report.bars)} reached")
        print()
    else:
        for line in plot.terminal(report):
            print(line)
    if old is not None:
        print("compared with the earlier run:")
        if old.machine.get("processor") != report.machine.get("processor"):
            complain(f"headrace: warning: that was on {old.machine.get('processor')}")
        table(reports.COMPARE_COLUMNS, reports.compare(old, report), right=reports.COMPARE_RIGHT)


def _plot(report: Report, directory: Path) -> None:
    from headrace.bench import plot
    from headrace.bench.native import BenchError

    try:
        written = plot.files(report, directory)
    except BenchError as error:
        raise CommandError(str(error), code=SYSTEM) from None
    complain("wrote " + ", ".join(str(path) for path in written))


class _Progress:
    """A line on standard error that says how far it is: rewritten on a terminal, every few seconds elsewhere."""

    def __init__(self) -> None:
        self._began = self._last = time.monotonic()
        self._width = 0

    def say(self, part: float, text: str) -> None:
        """Show it."""
        now = time.monotonic()
        line = f"{100 * part:3.0f} %  {now - self._began:5.1f} s  {text}"
        if sys.stderr.isatty():
            end = "\n" if part >= 1 else ""
            print(f"\r{line.ljust(self._width)}", end=end, file=sys.stderr, flush=True)
            self._width = len(line)
        elif part in {0.0, 1.0} or now - self._last > 5:
            complain(line)
            self._last = now
